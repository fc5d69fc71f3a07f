"""Every example of the pages is executed against the running app, or says why it is not.

A block that no test runs has a comment `not run: <why>` in front of it on its page. Python, KQL and
PromQL are run or checked by their own tests (`test_snippets`, `test_operate_page`, `unit/jobs`).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from local.services import ROOT, Azurite, FoundryEmulator, FunctionsHost
from shared.config import AppSettings
from shared.turns.contract import QueuedJob
from tests.e2e.asking import ended
from tests.e2e.served import Deployment

PAGES = (
    "README.md",
    "docs/http-api.md",
    "docs/identity.md",
    "docs/jobs.md",
    "docs/operate.md",
    "docs/settings.md",
)
ELSEWHERE = {"python", "kusto", "promql"}
LOCAL_APP = "http://localhost:7071"
SECONDS = 60


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str
    not_run: str | None

    @property
    def name(self) -> str:
        first = self.text.strip().splitlines()[0]
        return f"{self.page}: {first[:60]}"


_FENCED = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
BLOCKS = [
    Block(page, found["language"], found["text"], found["why"])
    for page in PAGES
    for found in _FENCED.finditer((ROOT / page).read_text(encoding="utf-8"))
]
TO_RUN = [b for b in BLOCKS if not b.not_run and b.language not in ELSEWHERE]
SHELL = [block for block in TO_RUN if block.language in {"console", "sh"}]
JSON = [block for block in TO_RUN if block.language == "json"]
SETTINGS = {"[{": "BUDGETS", '{"currency"': "PRICES", '{"key"': "DEPARTMENTS"}
"""How the values of settings begin on the pages."""


def setting_of(block: Block) -> str | None:
    return next((name for start, name in SETTINGS.items() if block.text.startswith(start)), None)


DOCUMENTED = {name: block.text for block in JSON if (name := setting_of(block))}
ANSWERS = [block for block in JSON if not setting_of(block)]


@pytest.fixture(scope="module")
def documented(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FunctionsHost]:
    """The app with every setting whose value the pages show."""
    own = Deployment(azurite.connection_string, foundry)
    with own.serve(tmp_path_factory.mktemp("documented"), **DOCUMENTED) as host:
        yield host


@pytest.fixture
async def reader(documented: FunctionsHost) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{documented.url}/api/", timeout=30) as client:
        yield client


def test_every_block_is_run_or_says_why_not() -> None:
    known = {id(block) for block in (*SHELL, *JSON)}
    assert [block.name for block in TO_RUN if id(block) not in known] == []
    assert set(DOCUMENTED) == set(SETTINGS.values())
    AppSettings.from_env(DOCUMENTED)


@pytest.mark.parametrize("block", [b for b in SHELL if "curl" in b.text], ids=lambda b: b.name)
async def test_commands_of_the_pages_answer(documented: FunctionsHost, block: Block) -> None:
    script = "set -e\n" + block.text.replace(LOCAL_APP, documented.url)
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0, err.decode()
    text = out.decode()
    assert '"turn_id"' in text or '"job_id"' in text, text
    assert '"code"' not in text, text


def test_commands_that_ask_no_app_are_run_by_other_tests() -> None:
    others = {block.text.split(" ")[2] for block in SHELL if "curl" not in block.text}
    assert others <= {
        "shared.commands.rebuild_metrics",
        "shared.commands.receiver_secret",
    }  # by their tests


async def answer_to(block: Block, reader: httpx.AsyncClient) -> Any:
    """What the app answers where a page shows an answer."""
    shown = json.loads(block.text)
    if "ready" in shown:
        return (await reader.get("health/ready")).json()
    if "errors" in shown:
        return (await reader.post("messages", json={"message": "Hi", "temperature": 9})).json()
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
