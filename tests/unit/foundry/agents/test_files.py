"""Agents as files: what is refused, what is sent, what counts as a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.config import FoundryAgentServiceConfig
from shared.foundry.agents import check_tools
from shared.foundry.agents.files import AgentFile, as_file, difference, load_yaml
from shared.foundry.errors import ConfigurationError, InvalidRequestError

CONFIG = FoundryAgentServiceConfig()
EXAMPLE = Path(__file__).parents[4] / "examples" / "agent.yaml"


def agent(**fields: Any) -> AgentFile:
    return AgentFile.model_validate({"name": "support", "model": "gpt-4.1", **fields})


def written(folder: Path, text: str) -> Path:
    path = folder / "agent.yaml"
    path.write_text(text)
    return path


def test_the_example_makes_a_version() -> None:
    version = AgentFile.read(EXAMPLE).version(CONFIG)
    definition = version["definition"]
    assert definition["kind"] == "prompt"
    assert definition["temperature"] == 0.2
    assert [tool["type"] for tool in definition["tools"]] == ["code_interpreter", "function"]
    function = definition["tools"][1]
    assert function["parameters"]["properties"]["order_id"]["description"].startswith("Number")
    assert version["metadata"] == {"team": "orders"}


def test_what_is_not_said_is_not_sent() -> None:
    assert agent().version(CONFIG) == {"definition": {"kind": "prompt", "model": "gpt-4.1"}}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "order_status"}])
def test_a_tool_choice_is_sent_as_it_is(choice: Any) -> None:
    assert agent(tool_choice=choice).version(CONFIG)["definition"]["tool_choice"] == choice


@pytest.mark.parametrize("choice", ["sometimes", {"type": "function"}])
def test_a_tool_choice_that_cannot_be_is_refused(choice: Any) -> None:
    with pytest.raises(InvalidRequestError, match="tool_choice"):
        agent(tool_choice=choice).version(CONFIG)


def test_tools_by_name_by_reference_and_as_objects() -> None:
    mcp = {"type": "mcp", "server_label": "s", "server_url": "https://example.com"}
    wanted = ["data_analysis", "visualization", "examples.order_tools:order_status", mcp]
    tools = agent(tools=wanted).version(CONFIG)["definition"]["tools"]
    assert [tool.get("name", tool["type"]) for tool in tools] == [
        "code_interpreter",
        "order_status",
        "mcp",
    ]


@pytest.mark.parametrize(
    ("tool", "reason"),
    [
        ("weather", "no tool 'weather'"),
        ({"type": "mpc"}, "no tool of type 'mpc'"),
        ({"type": "mcp"}, "server_label: Field required"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("examples.order_tools:f", "no attribute 'f'"),
        ("examples.order_tools:_ORDERS", "is not a function"),
        ("os:getcwd", "'os:getcwd' cannot be imported"),
    ],
    ids=str,
)
def test_a_tool_that_cannot_be_had_says_why(tool: Any, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        agent(tools=[tool]).version(CONFIG)


def test_a_tool_that_needs_a_setting_names_it() -> None:
    with pytest.raises(ConfigurationError, match="FOUNDRY_VECTOR_STORE_IDS"):
        agent(tools=["file_search"]).version(CONFIG)


def test_an_agent_has_at_most_128_tools() -> None:
    tools = [{"type": "custom", "name": f"t{n}"} for n in range(129)]
    with pytest.raises(InvalidRequestError, match="at most 128 tools, not 129"):
        agent(tools=tools).version(CONFIG)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: [", "is not YAML: .* line 1"),
        ("just text", "must hold an agent"),
        ("", "must hold an agent"),
        ("name: a\nmodel: m\ntempreture: 1", "tempreture: Extra inputs are not permitted"),
        ("name: -a\ntemperature: 3", "name: .*; model: Field required; temperature: "),
        ("name: a\nmodel: m\nmetadata: {k: 1}", "metadata.k: Input should be a valid string"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason) as caught:
        AgentFile.read(written(tmp_path, text))
    assert "agent.yaml" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"none\.yaml cannot be read"):
        AgentFile.read(tmp_path / "none.yaml")


def test_a_version_becomes_a_file_that_makes_it_again(tmp_path: Path) -> None:
    wanted = AgentFile.read(EXAMPLE).version(CONFIG)
    text = as_file({"name": "order-support", "version": "4", "created_at": 1, **wanted})
    assert "instructions: |\n  You answer" in text
    assert AgentFile.read(written(tmp_path, text)).version(CONFIG) == wanted
    zero = as_file({"name": "a", "definition": {"kind": "prompt", "model": "m", "temperature": 0}})
    assert load_yaml(zero, "") == {"name": "a", "model": "m", "temperature": 0}


def test_nothing_differs_where_the_service_only_fills_in() -> None:
    wanted = agent(instructions="Be brief.", tools=["data_analysis"]).version(CONFIG)
    stored = {
        "version": "1",
        "description": None,
        "metadata": {},
        "definition": {
            "tools": wanted["definition"]["tools"],
            "instructions": "Be brief.",
            "temperature": 1.0,
            "top_p": 1,
            "tool_choice": "auto",
            "text": {"format": {"type": "text"}},
            "reasoning": None,
            "structured_inputs": {},
            "model": "gpt-4.1",
            "kind": "prompt",
        },
    }
    assert difference(stored, wanted) == ""


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ({"temperature": 0.3}, {}, ["-  temperature: 0.3"]),
        ({}, {"temperature": 0.3}, ["+  temperature: 0.3"]),
        ({"description": "Old."}, {"description": "New."}, ["-description: Old."]),
        ({"metadata": {"a": "b"}}, {}, ["-metadata:", "-  a: b"]),
        (
            {"instructions": "One.\nTwo.\n"},
            {"instructions": "One.\nThree.\n"},
            ["-    Two.", "+    Three."],
        ),
        ({"tools": ["web_search"]}, {}, ["-  tools:", "-  - type: web_search"]),
    ],
)
def test_a_difference_shows_what_changes(
    before: dict[str, Any], after: dict[str, Any], shown: list[str]
) -> None:
    current = {"version": "7", **agent(**before).version(CONFIG)}
    lines = difference(current, agent(**after).version(CONFIG)).splitlines()
    assert lines[:2] == ["--- version 7", "+++ file"]
    assert set(shown) <= set(lines)


def test_a_new_agent_is_shown_whole() -> None:
    lines = difference(None, agent().version(CONFIG)).splitlines()
    assert lines[0] == "--- nothing"
    assert "+  model: gpt-4.1" in lines


VERSION: dict[str, Any] = {
    "name": "support",
    "version": "3",
    "definition": {
        "tools": [
            {"type": "code_interpreter"},
            {"type": "azure_ai_search", "azure_ai_search": {}},
            {"type": "function", "name": "order_status"},
            {"type": "mcp", "server_label": "docs"},
            {"type": "bing_grounding"},
        ]
    },
}


@pytest.mark.parametrize(
    "name",
    [
        "data_analysis",
        "code_interpreter",
        "knowledge_retrieval",
        "web_search",
        "order_status",
        "docs",
        "mcp",
    ],
)
def test_an_agents_own_tools_can_be_asked_for(name: str) -> None:
    check_tools(VERSION, [name])


def test_a_tool_that_the_agent_lacks_is_named_with_what_it_has() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_tools(VERSION, ["data_analysis", "file_search", "weather"])
    assert caught.value.code == "tool_not_in_agent"
    assert "'support' (version 3) has no tool 'file_search', 'weather'" in caught.value.message
    assert "code_interpreter, azure_ai_search, order_status, docs" in caught.value.message
    with pytest.raises(InvalidRequestError, match="it has no tools"):
        check_tools({"name": "a", "version": "1", "definition": {}}, ["web_search"])
    check_tools({"name": "a", "version": "1", "definition": {}}, [])
