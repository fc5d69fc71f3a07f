"""`python -m shared.commands.agents` against the emulator, as a person at a terminal uses it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from shared.commands.agents import main

from .conftest import ROOT, TOKEN, Emulator, FaultInjector

SECONDS = 30

AGENT = """\
name: {name}
model: llama-3.3-70b
instructions: Answer in one sentence.
tools:
  - data_analysis
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def is_one_line_of_error(self) -> bool:
        return (self.code, self.out, self.err.count("\n")) == (1, "", 1)


@dataclass
class Terminal:
    """Runs the command with an emulator's settings: in this process, or in one of its own."""

    emulator: Emulator
    environment: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[str]

    @property
    def settings(self) -> dict[str, str]:
        return {
            "FOUNDRY_AGENT_SERVICE_ENDPOINT": self.emulator.project,
            "IDENTITY_ENDPOINT": f"{self.emulator.origin}/msi/token",
            "IDENTITY_HEADER": "local-identity",
        }

    async def __call__(self, *arguments: str | Path, **settings: str) -> Result:
        with self.environment.context() as patch:
            for name, value in {**self.settings, **settings}.items():
                patch.setenv(name, value)
            code = await asyncio.to_thread(main, [str(argument) for argument in arguments])
        captured = self.captured.readouterr()
        return Result(code, captured.out, captured.err)

    async def process(self, *arguments: str | Path, **settings: str) -> Result:
        run = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "shared.commands.agents", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.settings, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        return Result(run.returncode, run.stdout, run.stderr)


@pytest.fixture
def agents(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    return Terminal(emulator, monkeypatch, capsys)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that describes an agent of the test's own."""
    path = tmp_path / f"cli-{uuid4().hex[:8]}.yaml"
    write(path)
    return path


def write(path: Path, said: str = "", instead: str = "") -> None:
    """Describe the agent, with other text in one place."""
    path.write_text(AGENT.format(name=path.stem).replace(said or instead, instead))


async def versions(emulator: Emulator, name: str) -> list[str]:
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(headers=headers) as client:
        url = f"{emulator.project}/agents/{name}/versions?api-version=v1"
        listed = (await client.get(url)).json()
    return [version["version"] for version in listed.get("data", [])]


async def test_apply_makes_a_version_only_when_something_changed(
    agents: Terminal, emulator: Emulator, file: Path
) -> None:
    first = await agents("apply", file)
    assert (first.code, first.err) == (0, "")
    assert "+  instructions: Answer in one sentence." in first.out
    assert first.out.endswith(f"{file.stem}:1 created\n")

    again = await agents("apply", file)
    assert (again.code, again.out) == (0, f"{file.stem}:1 is up to date\n")

    write(file, "one sentence", "two sentences")
    looked = await agents("apply", file, "--dry-run")
    assert looked.code == 0
    assert "-  instructions: Answer in one sentence." in looked.out
    assert "+  instructions: Answer in two sentences." in looked.out
    assert looked.out.endswith("would get a new version\n")
    assert await versions(emulator, file.stem) == ["1"]

    assert (await agents("apply", file)).out.endswith(f"{file.stem}:2 created\n")
    assert await versions(emulator, file.stem) == ["2", "1"]


async def test_the_example_applies_and_shows_as_a_file_that_applies(
    agents: Terminal, tmp_path: Path
) -> None:
    assert (await agents.process("apply", "examples/agent.yaml")).code == 0
    shown = await agents("show", "order-support")
    assert shown.code == 0
    assert shown.out.startswith("# order-support:1\nname: order-support\n")
    copy = tmp_path / "copy.yaml"
    copy.write_text(shown.out)
    assert (await agents("apply", copy)).out == "order-support:1 is up to date\n"
    listed = (await agents("list")).out.splitlines()
    assert listed[0].split() == ["NAME", "VERSION", "MODEL", "STATE"]
    assert ["order-support", "1", "llama-3.3-70b", "enabled"] in [row.split() for row in listed]


async def test_delete_takes_a_version_or_the_whole_agent(
    agents: Terminal, emulator: Emulator, file: Path
) -> None:
    for sentence in ("one", "two", "three"):
        write(file, "one", sentence)
        await agents("apply", file)
    refused = await agents("delete", file.stem)
    assert (refused.code, refused.out) == (1, "")
    assert "add --yes" in refused.err
    assert await versions(emulator, file.stem) == ["3", "2", "1"]
    gone = await agents("delete", f"{file.stem}:2", "--yes")
    assert (gone.code, gone.out) == (0, f"{file.stem}:2 deleted\n")
    assert (await agents("show", f"{file.stem}:3")).code == 0
    assert await versions(emulator, file.stem) == ["3", "1"]
    whole = await agents("delete", file.stem, "--yes")
    assert whole.out == f"{file.stem} with all its versions deleted\n"
    assert await versions(emulator, file.stem) == []
    assert (await agents("delete", file.stem, "--yes")).code == 1


async def test_an_error_is_one_line_on_stderr(agents: Terminal, file: Path) -> None:
    write(file, "data_analysis", "weather")
    results = {
        "Agent with id 'nobody' not found": await agents("show", "nobody"),
        "There is no tool 'weather'": await agents("apply", file),
        "none.yaml cannot be read": await agents("apply", file.parent / "none.yaml"),
        "set FOUNDRY_AGENT_SERVICE_ENDPOINT": await agents(
            "list", FOUNDRY_AGENT_SERVICE_ENDPOINT=""
        ),
        "Agents belong to a project": await agents(
            "list", FOUNDRY_AGENT_SERVICE_ENDPOINT=f"{agents.emulator.origin}/openai/v1"
        ),
        "No Entra token could be obtained": await agents.process("list", IDENTITY_HEADER="wrong"),
        "temperature must be a number": await agents("list", FOUNDRY_TEMPERATURE="hot"),
    }
    for wanted, result in results.items():
        assert wanted.lower() in result.err.lower()
        assert result.is_one_line_of_error, result.err


async def test_a_refusal_of_the_service_is_one_line(
    agents: Terminal, file: Path, inject: FaultInjector
) -> None:
    write(file, "llama-3.3-70b", "no-such-model")
    refused = await agents("apply", file)
    assert refused.code == 1
    assert "deployment 'no-such-model'" in refused.err
    assert refused.err.count("\n") == 1
    await inject("html", operation="agents.list", status=502)
    assert (await agents("list")).is_one_line_of_error


async def test_without_pyyaml_the_missing_package_is_named(
    agents: Terminal, file: Path, tmp_path: Path
) -> None:
    """A module that cannot be imported stands in for one that is not installed."""
    (tmp_path / "yaml.py").write_text("raise ImportError('not installed')\n")
    result = await agents.process("apply", file, PYTHONPATH=str(tmp_path))
    assert result.is_one_line_of_error
    assert "pip install pyyaml" in result.err
