"""The documented snippets run as they stand, under the documented names, against a Foundry.

Foundry is the emulator in a process of its own, reached by the documented environment variables at
its resource endpoint (API key) and at its project endpoint (managed identity), and once by the very
endpoint, key and agent of the document, which a proxy leads here.
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import importlib
import inspect
import logging
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import httpx
import pytest

from local.services import IDENTITY_HEADER, ROOT, FoundryEmulator
from tests.support.proxying import Proxy, relaying_to, running_proxy

PAGE = (Path(__file__).parent / "documented_api.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"^## (.+?)\n\n```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)
DOCUMENTED = "AgentOperatingSystem"
API_KEY = "local-key"
DOCUMENTED_HOST = "your-endpoint.azure.com"
AS_DOCUMENTED = {
    "FOUNDRY_AGENT_SERVICE_ENDPOINT": f"https://{DOCUMENTED_HOST}",
    "FOUNDRY_AGENT_SERVICE_API_KEY": "your-api-key",
    "FOUNDRY_AGENT_ID": "your-agent-id",
}

Names = dict[str, Any]


@pytest.fixture(scope="module")
def import_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of the documented name, as an editable install makes it."""
    folder = tmp_path_factory.mktemp("import_root")
    (folder / DOCUMENTED).symlink_to(ROOT / "shared", target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def documented_names(import_root: Path) -> Iterator[Names]:
    """What the documentation imports."""
    modules = ("config", "ml", "orchestration")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(import_root)
        config, ml, orchestration = (
            importlib.import_module(f"{DOCUMENTED}.{name}") for name in modules
        )
        yield {**vars(config), **vars(ml), **vars(orchestration)}
    for name in [name for name in sys.modules if name.partition(".")[0] == DOCUMENTED]:
        del sys.modules[name]


@pytest.fixture
async def documented_host(
    foundry: FoundryEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Proxy]:
    """The documented endpoint, which a proxy that the environment names leads to the emulator."""
    port = httpx.URL(foundry.url).port
    assert port is not None
    async with running_proxy(tmp_path, [DOCUMENTED_HOST], relaying_to(port)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(proxy.certificate.path))
        yield proxy


@pytest.fixture(params=["as documented", "API key", "managed identity"])
def environment(
    request: pytest.FixtureRequest, foundry: FoundryEmulator, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """The documented variables: an endpoint and a key, or an endpoint and an identity."""
    for name in ("FOUNDRY_AGENT_SERVICE_API_KEY", "FOUNDRY_AGENT_ID", "FOUNDRY_MODEL"):
        monkeypatch.delenv(name, raising=False)
    if request.param == "as documented":
        request.getfixturevalue("documented_host")
        for name, value in AS_DOCUMENTED.items():
            monkeypatch.setenv(name, value)
    elif request.param == "API key":
        monkeypatch.setenv("FOUNDRY_AGENT_SERVICE_ENDPOINT", f"{foundry.url}/openai/v1")
        monkeypatch.setenv("FOUNDRY_AGENT_SERVICE_API_KEY", API_KEY)
    else:
        monkeypatch.setenv("FOUNDRY_AGENT_SERVICE_ENDPOINT", foundry.project_endpoint)
        monkeypatch.setenv("IDENTITY_ENDPOINT", foundry.token_endpoint)
        monkeypatch.setenv("IDENTITY_HEADER", IDENTITY_HEADER)
    monkeypatch.setenv("VLLM_SERVER_URL", f"{foundry.url}/openai/v1")
    monkeypatch.setenv("VLLM_API_KEY", API_KEY)
    return monkeypatch


@pytest.fixture
async def names(documented_names: Names, environment: pytest.MonkeyPatch) -> AsyncIterator[Names]:
    """The names that snippets take for granted: imports, a client, an orchestrator."""
    client = documented_names["FoundryAgentServiceClient"]()
    orchestrator = documented_names["ModelOrchestrator"]()
    await client.initialize()
    await orchestrator.initialize()
    yield {**documented_names, "client": client, "orchestrator": orchestrator}
    await orchestrator.aclose()
    await client.aclose()


async def run(title: str, names: Names) -> Names:
    """Run a snippet, which may await at its top level, and give its names."""
    code = compile(
        SNIPPETS[title], title, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    ran = FunctionType(code, names)()
    if inspect.isawaitable(ran):
        await ran
    return names


async def script(code: str, import_root: Path) -> str:
    """What a program of the user's prints; it must end in order although it closes nothing."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        env={**os.environ, "PYTHONPATH": f"{import_root}{os.pathsep}{ROOT}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    warnings = ("Agent ID not configured", "FOUNDRY_AGENT_ID only names the agent")
    complaints = [line for line in err.decode().splitlines() if not line.startswith(warnings)]
    assert complaints == []
    return out.decode()


@pytest.mark.usefixtures("environment")
async def test_basic_usage(import_root: Path) -> None:
    said = await script(SNIPPETS["Basic usage"], import_root)
    assert "Response: You said: Analyze the customer feedback trends" in said
    assert "Model: llama-3.3-70b" in said
    assert re.search(r"Tokens used: \d+", said)


@pytest.mark.usefixtures("environment")
async def test_model_orchestrator(import_root: Path) -> None:
    called = "import asyncio\nasyncio.run(use_with_orchestrator())\n"
    said = await script(SNIPPETS["Model orchestrator"] + called, import_root)
    assert "Reply: You said: What are the top 3 strategic priorities?" in said
    assert re.search(r"Thread ID: thread_\w{26}", said)


async def test_stateful_threads_keep_their_context(names: Names) -> None:
    await run("Stateful threads", names)
    answers = [names[f"response{number}"] for number in (1, 2, 3)]
    assert all(answer.success for answer in answers), answers
    history = await names["client"].send_message("/history", thread_id=names["thread_id"])
    for asked in ("Q3 revenue?", "compare to Q2?", "forecast for Q4?"):
        assert asked in history.content


async def test_custom_configuration(names: Names) -> None:
    await run("Custom configuration", names)
    config = names["client"].config
    assert (config.agent_id, config.temperature, config.timeout) == ("aos-agent-001", 0.8, 90)
    assert (config.max_tokens, config.top_p, config.max_retries) == (2048, 0.95, 5)


async def test_the_documented_configurations_work(
    documented_names: Names, documented_host: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """A host alone, a key and an agent's id: in code, and in the orchestrator's settings."""
    names = await run("MLConfig", await run("Custom configuration", {**documented_names}))
    with caplog.at_level(logging.WARNING):
        async with names["client"] as client:
            answer = await client.send_message("Hello")
            thread_id = await client.create_thread()
            for text in ("My name is Ada.", "What is my name?"):
                remembered = await client.send_message(text, thread_id)
    assert "FOUNDRY_AGENT_ID only names the agent" in caplog.text
    assert (answer.content, answer.agent_id) == ("You said: Hello", "aos-agent-001")
    assert "Ada" in remembered.content
    async with names["ModelOrchestrator"](names["ml_config"]) as orchestrator:
        result = await orchestrator.process_model_request(
            names["ModelType"].FOUNDRY_AGENT_SERVICE, "leadership", "Hello", "conv-001"
        )
    assert (result["reply"], result["agent_id"]) == ("You said: Hello", "your-agent-id")
    assert set(documented_host.tunnels) == {DOCUMENTED_HOST}


async def test_thread_management(names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    await run("Thread management", names)
    assert names["thread_info"].metadata["department"] == "finance"
    said = capsys.readouterr().out
    assert "Messages in thread: 0" in said
    assert re.search(r"Last accessed: \d{4}-\d\d-\d\d", said)
    assert await names["client"].get_thread_info(names["thread_id"]) is None


async def test_foundry_tools(names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    await run("Foundry tools", names)
    assert names["response"].success, names["response"].error
    assert "Tools used: " in capsys.readouterr().out


async def test_ml_config(names: Names) -> None:
    await run("MLConfig", names)
    config = names["ml_config"]
    assert config.foundry_agent_id == "your-agent-id"
    assert config.foundry().endpoint_url == "https://your-endpoint.azure.com"


async def test_client_metrics(names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    await names["client"].send_message("Hello")
    await run("Client metrics", names)
    said = capsys.readouterr().out
    assert "Total requests: 1" in said
    assert "Success rate: 100.0%" in said
    assert re.search(r"Average latency: \d+\.\d{3}s\nTotal tokens: [1-9]", said)


async def test_health_check(names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    await run("Health check", names)
    assert names["is_healthy"] is True
    client = names["FoundryAgentServiceClient"](
        names["client"].config.model_copy(update={"agent_id": "nobody", "api_key": "wrong"})
    )
    names["client"], old = client, names["client"]
    try:
        if "/api/projects/" not in client.config.endpoint_url:
            await run("Health check", names)
            assert "Foundry Agent Service is unhealthy" in capsys.readouterr().out
    finally:
        names["client"] = old
        await client.aclose()


async def test_migration(names: Names) -> None:
    await run("Migration", names)
    assert names["result"]["source"] == "foundry_agent_service"
    told = await names["orchestrator"].process_model_request(
        names["ModelType"].VLLM, "leadership", "/history", "conv-001"
    )
    assert told["reply"].count("Your prompt") == 2


async def test_model_preference(names: Names) -> None:
    await run("Model preference", names)
    assert names["model_type"] is names["ModelType"].FOUNDRY_AGENT_SERVICE


async def test_all_together(names: Names) -> None:
    outer = names["client"], names["orchestrator"]
    await run("All together", names)
    answers = [names[name] for name in ("response1", "response2", "response")]
    assert [answer.error for answer in answers] == [None] * 3
    assert names["result"]["reply"] == "You said: Analyze our strategic priorities for next quarter"
    await names["client"].aclose()
    await names["orchestrator"].aclose()
    names["client"], names["orchestrator"] = outer


async def test_debug_mode(names: Names) -> None:
    root = logging.getLogger()
    level = root.level
    try:
        await run("Debug mode", names)
    finally:
        root.setLevel(level)


async def test_troubleshooting_texts(
    names: Names, environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment.delenv("FOUNDRY_AGENT_ID", raising=False)
    with caplog.at_level(logging.WARNING):
        async with names["FoundryAgentServiceClient"]():
            assert "Agent ID not configured" in caplog.text
    environment.delenv("FOUNDRY_AGENT_SERVICE_API_KEY", raising=False)
    environment.setenv("FOUNDRY_ENABLE_ENTRA_AGENT_ID", "false")
    with pytest.raises(ValueError, match=r"^Foundry Agent Service API key not configured"):
        await names["FoundryAgentServiceClient"]().initialize()
    environment.delenv("FOUNDRY_AGENT_SERVICE_ENDPOINT")
    with pytest.raises(ValueError, match=r"^Foundry Agent Service endpoint URL not configured"):
        await names["FoundryAgentServiceClient"]().initialize()
    result = await names["ModelOrchestrator"]().process_model_request(
        names["ModelType"].FOUNDRY_AGENT_SERVICE, "general", "Hi", "conv-001"
    )
    assert result["error"].startswith("Foundry Agent Service endpoint URL not configured")


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("page", ["README.md", "docs/python-api.md", "docs/migrate.md"])
async def test_every_example_of_our_own_pages_runs(page: str, import_root: Path) -> None:
    """The blocks of a page, one after the other, as one program."""
    examples = FENCED.findall((ROOT / page).read_text(encoding="utf-8"))
    code = "\n".join(examples)
    if "asyncio.run(" not in code:
        code += "\nimport asyncio\nasyncio.run(main())\n"
    said = await script(code, import_root)
    assert "You said: " in said


def test_no_page_has_examples_that_nobody_runs() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    with_examples = {page.name for page in pages if FENCED.search(page.read_text("utf-8"))}
    here = {"README.md", "python-api.md", "migrate.md"}
    assert with_examples == here | {"tools.md", "jobs.md", "openai.md"}  # ELSEWHERE


REFERENCE = {
    "FoundryAgentServiceConfig": "endpoint_url api_key agent_id model enable_stateful_threads "
    "enable_entra_agent_id enable_foundry_tools timeout temperature max_tokens top_p",
    "FoundryResponse": "content thread_id agent_id model tools_used usage success error",
    "ThreadInfo": "thread_id agent_id created_at last_accessed message_count metadata",
}


@pytest.mark.parametrize("name", REFERENCE)
def test_every_documented_field_is_there(documented_names: Names, name: str) -> None:
    documented = documented_names[name]
    if dataclasses.is_dataclass(documented):
        fields = {field.name for field in dataclasses.fields(documented)}
    else:
        fields = set(documented.model_fields)
    assert set(REFERENCE[name].split()) <= fields


def test_every_documented_method_is_there(documented_names: Names) -> None:
    client = documented_names["FoundryAgentServiceClient"]
    for name in ("initialize", "send_message", "create_thread", "get_thread_info"):
        assert inspect.iscoroutinefunction(getattr(client, name))
    for name in ("delete_thread", "health_check"):
        assert inspect.iscoroutinefunction(getattr(client, name))
    assert not inspect.iscoroutinefunction(client.get_metrics)


def test_every_snippet_is_run() -> None:
    tested = re.findall(r"SNIPPETS\[\"(.+?)\"\]|run\(\"(.+?)\"", Path(__file__).read_text())
    assert {name for pair in tested for name in pair if name} == set(SNIPPETS)
    assert PAGE.count("```python") == len(SNIPPETS)
