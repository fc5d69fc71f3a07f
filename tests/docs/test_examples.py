"""Every fenced block of every page is executed, or stands in a list below that says why not.

Shell blocks run as they stand, with the addresses and settings of a running app and emulator; what
they ask by `curl` must succeed. JSON is a setting that the app runs with, or what it answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from local.services import ROOT, Azurite, FoundryEmulator, FunctionsHost
from shared.config import AppSettings
from shared.jobs.requests import QueuedJob
from tests.support.asking import ended
from tests.support.served import Deployment

PAGES = sorted(
    {*ROOT.glob("*.md"), *(p for top in ROOT.glob("[a-z]*/") for p in top.glob("*.md"))}
    - {ROOT / "tests/docs/documented_api.md"}  # test_snippets runs it
)
ELSEWHERE = {
    ("README.md", "python"): "tests/docs/test_snippets.py",
    ("docs/architecture.md", "mermaid"): "tests/docs/test_architecture.py",
    ("docs/cli.md", "text"): "tests/cli/test_page.py",
    ("docs/jobs.md", "python"): "tests/unit/jobs/callbacks/test_webhooks.py",
    ("docs/migrate.md", "python"): "tests/docs/test_snippets.py",
    ("docs/openai.md", "python"): "tests/e2e/test_openai_face.py",
    ("docs/operate.md", "kusto"): "tests/docs/test_operate_page.py",
    ("docs/operate.md", "promql"): "tests/docs/test_operate_page.py",
    ("docs/python-api.md", "python"): "tests/docs/test_snippets.py",
    ("docs/tools.md", "python"): "tests/docs/test_tools_page.py",
    ("docs/tools.md", "yaml"): "tests/docs/test_tools_page.py",
}
"""Which test runs the blocks of a language."""

NOT_RUN = {
    "README.md: make run": "installs and serves the app; tests/integration/test_launcher does so",
    "README.md: make test": "runs this test",
    "tests/README.md: make test": "runs this test in a test",
    "README.md: Ready in": "what `make run` prints; docs/test_readme holds it",
    "README.md: All checks passed!": "what `make test` prints; docs/test_readme holds it",
    "docs/cli.md: pip install": "infrastructure/test_install and tests/cli do so",
    "docs/deploy.md: azd auth login": "needs Azure",
    "docs/deploy.md: APP=$(azd env": "needs a deployment in Azure",
    "docs/deploy.md: azd env set HTTP_CONCURRENCY": "needs Azure",
    "docs/deploy.md: Error BCP338": "what azd prints; infrastructure/test_parameters holds it",
    "docs/deploy.md: scope=$(az": "needs Azure",
    "docs/deploy.md: azd deploy api": "needs Azure",
    "docs/deploy.md: python3 -m infra.scripts.agent_identity --delete": "needs Entra and Azure",
    "docs/http-api.md: openapi-python-client": "e2e/test_generated_clients generates both clients",
    "docs/identity.md: az identity create": "needs Azure",
    'docs/identity.md: {"displayName": "Support agents"': "a body for Microsoft Graph",
    'docs/identity.md: {"name": "function-app"': "a body for Microsoft Graph",
    'docs/identity.md: {"displayName": "Support agent"': "a body for Microsoft Graph",
    "docs/identity.md: az role assignment": "needs Azure",
    "docs/identity.md: az functionapp config": "needs Azure",
    "docs/jobs.md: ┌": "a drawing",
    'docs/jobs.md: {"type": "job.succeeded"': "what receivers get; e2e/test_callbacks holds it",
    'docs/mcp.md: {"servers"': "the configuration of VS Code",
    "docs/mcp.md: claude mcp add": "needs Claude Code",
    'docs/mcp.md: {"type": "mcp"': "a tool of an agent in Foundry",
    "docs/mcp.md: azd env set": "needs Azure",
    'docs/tools.md: {"requests"': "an answer; e2e/test_tool_requests holds it",
    'docs/tools.md: {"approvals"': "e2e/test_tool_requests sends it on a thread that waits",
    "docs/operate.md: scrape_configs": "the configuration of Prometheus",
}
"""How the blocks begin that nothing runs, and why."""

LOCAL_APP = "http://localhost:7071"
LOCAL_FOUNDRY = "http://127.0.0.1:7072"
SECONDS = 60
TERMINAL = {
    "CALLBACK_SECRET": "whsec_c2VjcmV0IG9mIHRoZSBkb2N1bWVudGVkIGFwcA==",
    "RETAIN_TURNS_DAYS": "0",  # the day that a page rebuilds is long ago
}
"""Settings that commands of the pages take for granted."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str

    @property
    def name(self) -> str:
        first = self.text.strip().splitlines()[0]
        return f"{self.page}: {first[:60]}"

    @property
    def is_run(self) -> bool:
        """Whether it is run here."""
        is_elsewhere = (self.page, self.language) in ELSEWHERE
        return not is_elsewhere and not self.name.startswith(tuple(NOT_RUN))


_FENCED = re.compile(
    r"^(?P<margin> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=margin)```$", re.MULTILINE | re.DOTALL
)
BLOCKS = [
    Block(page.relative_to(ROOT).as_posix(), found["language"], found["text"])
    for page in PAGES
    for found in _FENCED.finditer(page.read_text(encoding="utf-8"))
]
SHELL = [b for b in BLOCKS if b.is_run and b.language in {"bash", "console", "sh"}]
JSON = [block for block in BLOCKS if block.is_run and block.language == "json"]
SETTINGS = {"[{": "BUDGETS", '{"currency"': "PRICES", '{"key"': "DEPARTMENTS"}
"""How the values of settings begin on the pages."""


def setting_of(block: Block) -> str | None:
    return next((name for start, name in SETTINGS.items() if block.text.startswith(start)), None)


DOCUMENTED = {name: block.text for block in JSON if (name := setting_of(block))}
ANSWERS = [block for block in JSON if not setting_of(block)]


@pytest.fixture(scope="module")
def own(azurite: Azurite, foundry: FoundryEmulator) -> Deployment:
    return Deployment(azurite.connection_string, foundry)


@pytest.fixture(scope="module")
def documented(
    own: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FunctionsHost]:
    """The app with every setting whose value the pages show."""
    with own.serve(tmp_path_factory.mktemp("documented"), **DOCUMENTED) as host:
        yield host


@pytest.fixture
async def reader(documented: FunctionsHost) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{documented.url}/api/", timeout=30) as client:
        yield client


def test_every_block_is_run_or_is_in_a_list_that_says_why_not() -> None:
    known = {id(block) for block in (*SHELL, *JSON)}
    assert [block.name for block in BLOCKS if block.is_run and id(block) not in known] == []
    fences = sum(page.read_text(encoding="utf-8").count("```") for page in PAGES)
    assert fences == 2 * len(BLOCKS), "a fence that this test does not see"
    assert set(DOCUMENTED) == set(SETTINGS.values())
    AppSettings.from_env(DOCUMENTED)


def test_the_lists_hold_nothing_that_is_not_on_a_page() -> None:
    unused = [start for start in NOT_RUN if not any(b.name.startswith(start) for b in BLOCKS)]
    assert unused == []
    assert {(block.page, block.language) for block in BLOCKS} >= ELSEWHERE.keys()
    assert [test for test in ELSEWHERE.values() if not (ROOT / test).is_file()] == []


def environment(own: Deployment, folder: Path) -> dict[str, str]:
    """What a terminal beside the app has, in which `curl` fails where the app refuses."""
    (folder / ".curlrc").write_text("fail-with-body\nshow-error\n", encoding="utf-8")
    return {
        **own.environment(**DOCUMENTED, **TERMINAL),
        "CURL_HOME": str(folder),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


@pytest.mark.parametrize("block", SHELL, ids=lambda b: b.name)
async def test_commands_of_the_pages_succeed(
    documented: FunctionsHost, own: Deployment, tmp_path: Path, block: Block
) -> None:
    text = block.text.replace(LOCAL_APP, documented.url).replace(LOCAL_FOUNDRY, own.foundry.url)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"set -e -o pipefail\n{text}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(own, tmp_path),
        cwd=ROOT,
    )
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    said = out.decode()
    assert process.returncode == 0, said + err.decode()
    assert '"code"' not in said, said
    if re.search(r"/api/(messages|jobs|threads/\$)", text):
        assert '"turn_id"' in said or '"job_id"' in said, said


CATALOGUE = {
    "takes_any_model": "models",
    "data": "tools",
    "limits": "me",
    "ready": "health/ready",
}
"""Addresses by a member of their answers that no other answer on a page has."""


async def answer_to(block: Block, reader: httpx.AsyncClient) -> Any:
    """What the app answers where a page shows an answer."""
    shown = json.loads(block.text)
    for member, path in CATALOGUE.items():
        if member in shown:
            return (await reader.get(path)).json()
    if "errors" in shown:
        return (await reader.post("messages", json={"message": "Hi", "temperature": 9})).json()
    if "job_id" in shown:
        job = (await reader.post("jobs", json={"message": "Hi"})).json()
        return await ended(reader, job["job_id"])
    if "erasure_id" in shown:
        return (await reader.delete("me/data")).json()
    if "key_id" in shown:
        body = {"label": "reports", "budgets": [{"tokens": 100_000, "per": "day"}]}
        return (await reader.post("keys", json=body)).json()
    if "conversationId" in shown:
        body = {"user_input": "Hi", "conversation_id": "page"}
        return (await reader.post("orchestrate", json=body)).json()
    answer = (await reader.post("messages", json={"message": "Hi"})).json()
    if "turn_id" in shown and "content" in shown:
        return answer
    (await reader.get("audit")).raise_for_status()
    records = (await reader.get("audit", params={"action": "send"})).json()["data"]
    return records[0]


MAY_BE_ABSENT = {"agent_id", "agent_identity", "thread_id", "fallback_from"}
"""Members that an answer has only where they apply."""


@pytest.mark.parametrize("block", ANSWERS, ids=lambda b: b.name)
async def test_answers_have_the_members_that_the_pages_show(
    reader: httpx.AsyncClient, block: Block
) -> None:
    shown, answer = json.loads(block.text), await answer_to(block, reader)
    assert shown.keys() - answer.keys() <= MAY_BE_ABSENT, answer
    for name in ("data", "budgets"):  # lists of objects
        for member, found in zip(shown.get(name, []), answer.get(name, []), strict=False):
            assert member.keys() == found.keys(), found
    if block.page == "README.md":  # shows whole answers
        assert list(shown) == list(answer)


async def test_budgets_of_the_pages_let_jobs_and_threads_pass(reader: httpx.AsyncClient) -> None:
    job = (await reader.post("jobs", json={"messages": ["One", "Two"]})).json()
    assert (await ended(reader, job["job_id"]))["status"] == "succeeded"
    usage = (await reader.get("usage", params={"by": "department"})).json()
    assert "finance" in {group["department"] for group in usage["groups"]}
    assert usage["total"]["cost"] is not None


def test_the_documented_form_of_a_job_id_is_the_one_that_is_taken() -> None:
    page = (ROOT / "docs/http-api.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"such as `(job_\w+)`", page)
    assert QueuedJob(owner="t:p", message="Hi", job_id=shown).job_id == shown
    with pytest.raises(ValidationError):
        QueuedJob(owner="t:p", message="Hi", job_id="order-17")
