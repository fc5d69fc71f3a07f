"""What tool names stand for, and which refusals mean that a model cannot use tools."""

from __future__ import annotations

import json

import pytest

from shared.config import FoundryAgentServiceConfig
from shared.foundry.error_bodies import error_from_response
from shared.foundry.errors import ConfigurationError, FoundryError, InvalidRequestError
from shared.foundry.tools import NAMED_TOOLS, Toolbox, tools_refused

STORES = FoundryAgentServiceConfig(vector_store_ids=" vs_1, vs_2 ,")
INDEX = FoundryAgentServiceConfig(search_connection_id="/connections/s", search_index="manuals")
FILE_SEARCH = {"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]}
AI_SEARCH = {
    "type": "azure_ai_search",
    "azure_ai_search": {
        "indexes": [{"project_connection_id": "/connections/s", "index_name": "manuals"}]
    },
}


DOCUMENTED = [
    "data_analysis",
    "visualization",
    "statistical_modeling",
    "data_aggregation",
    "sentiment_analysis",
]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_documented_names_mean_the_code_interpreter(name: str) -> None:
    wanted = [{"type": "code_interpreter", "container": {"type": "auto"}}]
    assert Toolbox().definitions([name]) == wanted


@pytest.mark.parametrize(
    ("name", "config", "wanted"),
    [
        ("knowledge_retrieval", STORES, FILE_SEARCH),
        ("knowledge_retrieval", INDEX, AI_SEARCH),
        ("file_search", STORES, FILE_SEARCH),
        ("azure_ai_search", INDEX, AI_SEARCH),
        ("web_search", FoundryAgentServiceConfig(), {"type": "web_search"}),
    ],
)
def test_settings_say_what_a_name_means(
    name: str, config: FoundryAgentServiceConfig, wanted: dict[str, object]
) -> None:
    assert Toolbox(config=config).definitions([name]) == [wanted]


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("knowledge_retrieval", "FOUNDRY_VECTOR_STORE_IDS, or FOUNDRY_SEARCH_CONNECTION_ID"),
        ("file_search", "FOUNDRY_VECTOR_STORE_IDS"),
        ("azure_ai_search", "FOUNDRY_SEARCH_CONNECTION_ID and FOUNDRY_SEARCH_INDEX"),
    ],
)
def test_a_tool_that_is_not_configured_names_the_setting(name: str, setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{name}' is not configured: set {setting}"):
        Toolbox().definitions([name])


@pytest.mark.parametrize(
    ("name", "config", "missing"),
    [
        ("web_search", FoundryAgentServiceConfig(), ()),
        ("knowledge_retrieval", STORES, ()),
        ("knowledge_retrieval", INDEX, ()),
        (
            "knowledge_retrieval",
            FoundryAgentServiceConfig(),
            (
                ("FOUNDRY_VECTOR_STORE_IDS",),
                ("FOUNDRY_SEARCH_CONNECTION_ID", "FOUNDRY_SEARCH_INDEX"),
            ),
        ),
        (
            "azure_ai_search",
            FoundryAgentServiceConfig(search_index="manuals"),
            (("FOUNDRY_SEARCH_CONNECTION_ID",),),
        ),
    ],
)
def test_an_offered_tool_has_its_missing_settings(
    name: str, config: FoundryAgentServiceConfig, missing: tuple[tuple[str, ...], ...]
) -> None:
    (offered,) = [tool for tool in Toolbox(config=config).offered() if tool.name == name]
    assert offered.missing == missing
    assert (offered.unavailable is None) == (not missing)


def test_every_tool_that_can_be_named_is_offered() -> None:
    def greet(name: str) -> str:
        """Greet a user."""
        return f"Hello {name}"

    offered = {tool.name: tool for tool in Toolbox([greet]).offered()}
    assert list(offered) == sorted({*NAMED_TOOLS, "greet"})
    assert (offered["greet"].types, offered["greet"].needs) == (("function",), ())
    assert offered["greet"].description == "Greet a user."


def test_half_a_configuration_names_the_missing_half() -> None:
    half = FoundryAgentServiceConfig(search_index="manuals")
    with pytest.raises(ConfigurationError, match="set FOUNDRY_SEARCH_CONNECTION_ID\\."):
        Toolbox(config=half).definitions(["knowledge_retrieval"])


def test_a_tool_that_a_name_cannot_carry_says_how_to_give_it() -> None:
    with pytest.raises(InvalidRequestError, match="'mcp' needs more than its name") as caught:
        Toolbox().definitions(["mcp"])
    assert caught.value.code == "unknown_tool"


def test_every_name_is_described() -> None:
    assert all(tool.description.endswith(".") and tool.types for tool in NAMED_TOOLS.values())


def refusal(status: int, message: str) -> FoundryError:
    body = json.dumps({"error": {"code": "x", "message": message}}).encode()
    return error_from_response(status, {}, body, "req_1")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Tools are not supported with the deployment llama."),
        (400, "Hosted tool 'code_interpreter' is not supported with llama."),
        (400, "This model does not support tools."),
        (400, "The model doesn't support function calling"),
        (400, "auto tool choice requires --enable-auto-tool-choice and --tool-call-parser"),
        (404, "Unrecognized request argument supplied: tools"),
        (400, "Unsupported parameter: tools"),
        (400, "Tool calling is not supported for this model"),
    ],
)
def test_refusals_of_tools_are_recognised(status: int, message: str) -> None:
    found = tools_refused(refusal(status, message), "llama-3.3-70b")
    assert found is not None
    assert (found.code, found.request_id) == ("tools_not_supported", "req_1")
    assert "'llama-3.3-70b' cannot use tools" in found.message


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Not allowed when agent is specified."),
        (400, "Image input is not supported with the deployment."),
        (400, "No tool output found for function call call_1."),
        (404, "The API deployment for this resource does not exist."),
        (500, "Tools are not supported"),
    ],
)
def test_other_refusals_are_left_alone(status: int, message: str) -> None:
    assert tools_refused(refusal(status, message), "m") is None
