"""The examples of docs/tools.md run, and its table has every tool name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from shared.config import FoundryAgentServiceConfig
from shared.foundry.agents.files import AgentFile
from shared.foundry.tools import NAMED_TOOLS

PAGE = (Path(__file__).parents[2] / "docs" / "tools.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.splitlines()[0])
async def test_every_example_runs(code: str) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "docs/tools.md", "exec", dont_inherit=True), names)  # noqa: S102 - our own page
    if inspect.iscoroutinefunction(names.get("main")):
        await names["main"]()


def test_the_agent_file_of_the_page_makes_a_version(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "agent.yaml").write_text(shown)
    version = AgentFile.read(tmp_path / "agent.yaml").version(FoundryAgentServiceConfig())
    kinds = [tool["type"] for tool in version["definition"]["tools"]]
    assert kinds == ["code_interpreter", "function", "web_search"]


def test_every_tool_name_is_in_the_table() -> None:
    table = PAGE.partition("## Tools of Foundry, by name")[2].partition("##")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(NAMED_TOOLS)


def test_every_field_of_an_agent_file_is_in_the_table() -> None:
    table = PAGE.partition("| field | meaning |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(AgentFile.model_fields)
