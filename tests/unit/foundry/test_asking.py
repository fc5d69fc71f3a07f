"""What a Python caller may ask for; anything else is refused before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from shared.config import MLConfig, ModelSettings
from shared.foundry import FoundryAgentServiceClient, InvalidRequestError
from shared.foundry.asking import OPTIONS, turn_request
from shared.foundry.models import TurnRequest
from shared.foundry.tools import CustomTool
from shared.orchestration import ModelOrchestrator
from tests.support.app_on_fakes import RESOURCE, at_resource
from tests.support.scripted_foundry import ScriptedFoundry

NAN, INFINITY = float("nan"), float("inf")


class Text(str):
    """A text of a caller's own type."""


def asked(**options: Any) -> TurnRequest:
    return turn_request("Hi", "general", options)


def no_docstring(x: int) -> int:
    return x


OF_ANOTHER_TYPE: list[tuple[str, Any]] = [
    ("system_prompt", b"Be brief."),
    ("system_prompt", 3),
    ("tools", "web_search"),
    ("tools", {"type": "web_search"}),
    ("tools", 3),
    ("tools", [None]),
    ("tools", [3]),
    ("tools", [no_docstring]),
    ("model", 3),
    ("model", ["gpt"]),
    ("temperature", True),
    ("temperature", "0.5"),
    ("temperature", [0.5]),
    ("temperature", 1j),
    ("max_tokens", True),
    ("max_tokens", 10.0),
    ("max_tokens", "10"),
    ("top_p", False),
    ("top_p", "1"),
    ("metadata", [("a", "b")]),
    ("metadata", "a=b"),
    ("metadata", {"a": 1}),
    ("metadata", {1: "a"}),
    ("metadata", {"a": None}),
    ("images", "https://example.com/a.png"),
    ("images", b"\x89PNG"),
    ("images", [3]),
    ("files", {"type": "input_file"}),
    ("files", ["a.pdf"]),
    ("background", 1),
    ("background", "yes"),
    ("temprature", 1),
    ("thread", "conv_1"),
    ("", 1),
]

NOT_USABLE: list[Any] = [
    ("model", ""),
    ("temperature", NAN),
    ("temperature", INFINITY),
    ("temperature", -INFINITY),
    ("temperature", -0.1),
    ("temperature", 2.1),
    pytest.param("temperature", 10**5000, id="temperature-huge"),
    ("max_tokens", 0),
    ("max_tokens", -5),
    pytest.param("max_tokens", 10**5000, id="max_tokens-huge"),
    ("top_p", NAN),
    ("top_p", 1.01),
    ("top_p", -1),
    ("metadata", {str(n): "x" for n in range(17)}),
    ("metadata", {"k" * 65: "x"}),
    ("metadata", {"": "x"}),
    ("metadata", {"a": "x" * 513}),
    ("images", ["http://example.com/a.png"]),
    ("images", [b"no image"]),
]


@pytest.mark.parametrize(("name", "value"), OF_ANOTHER_TYPE)
def test_a_value_of_another_type_is_a_type_error(name: str, value: Any) -> None:
    with pytest.raises(TypeError):
        asked(**{name: value})


@pytest.mark.parametrize(("name", "value"), NOT_USABLE)
def test_a_value_that_cannot_be_used_is_an_invalid_request(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        asked(**{name: value})
    assert name.removesuffix("s") in caught.value.message.lower()


@pytest.mark.parametrize("name", OPTIONS)
def test_none_means_as_configured(name: str) -> None:
    assert asked(**{name: None}) == TurnRequest("Hi")


def test_the_bounds_themselves_are_taken() -> None:
    assert asked(temperature=0, top_p=1, max_tokens=1).temperature == 0
    assert asked(temperature=2.0, metadata={"k" * 64: "x" * 512}).temperature == 2.0
    assert asked(model=Text("gpt")).model == "gpt"
    assert asked(tools=iter(["web_search"])).tools == ("web_search",)


def test_a_function_becomes_a_tool() -> None:
    async def weather(city: str) -> str:
        """Tell the weather."""
        return city

    (tool,) = asked(tools=[weather]).tools
    assert isinstance(tool, CustomTool)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("temprature", "temperature"), ("maxTokens", "max_tokens"), ("tool", "tools")],
)
def test_an_unknown_option_names_the_nearest_known_one(name: str, nearest: str) -> None:
    with pytest.raises(TypeError, match=f"unknown option {name}; did you mean {nearest}?"):
        asked(**{name: 1})


BAD_MESSAGES: list[tuple[Any, type[Exception]]] = [
    (b"Hi", TypeError),
    (None, TypeError),
    (3, TypeError),
    (["Hi"], TypeError),
    ({"role": "user"}, TypeError),
    ("", InvalidRequestError),
]


@pytest.mark.parametrize(("message", "error"), BAD_MESSAGES)
async def test_a_message_is_a_text_in_every_call(message: Any, error: type[Exception]) -> None:
    foundry = ScriptedFoundry()
    async with FoundryAgentServiceClient(at_resource(), http=foundry.transport) as client:
        for send in (client.send_message, client.send_message_or_raise):
            with pytest.raises(error):
                await send(message)
        with pytest.raises(error):
            await anext(client.stream_message(message))
    ml = MLConfig(foundry_agent_service_endpoint=RESOURCE, foundry_agent_service_api_key="key")
    made = ModelOrchestrator(ml, models=ModelSettings(), in_memory=True, http=foundry.transport)
    async with made as orchestrator:
        asked: Any = ("foundry_agent_service", "general", message, "conv-1")
        with pytest.raises(error):
            await orchestrator.process_model_request(*asked)
        with pytest.raises(error):
            await anext(orchestrator.stream_model_request(*asked))
        with pytest.raises((TypeError, InvalidRequestError)):
            await orchestrator.process_model_request(asked[0], asked[1], "Hi", message)
    assert foundry.calls == []


@pytest.mark.parametrize("thread_id", [b"conv_1", 3, "", ["conv_1"], False])
async def test_a_thread_id_is_a_text_in_every_call(thread_id: Any) -> None:
    foundry, errors = ScriptedFoundry(), (TypeError, InvalidRequestError)
    async with FoundryAgentServiceClient(at_resource(), http=foundry.transport) as client:
        for call in (
            client.send_message("Hi", thread_id),
            client.send_message_or_raise("Hi", thread_id),
            anext(client.stream_message("Hi", thread_id)),
            client.get_thread_info(thread_id),
            client.update_thread(thread_id, {}),
            client.list_messages(thread_id),
            client.delete_thread(thread_id),
        ):
            with pytest.raises(errors):
                await call
    assert foundry.calls == []


@pytest.mark.parametrize("metadata", ["a", {"a": 1}, {"a": "x" * 513}, {"": "x"}])
async def test_a_threads_metadata_is_checked(metadata: Any) -> None:
    foundry, errors = ScriptedFoundry(), (TypeError, InvalidRequestError)
    async with FoundryAgentServiceClient(at_resource(), http=foundry.transport) as client:
        with pytest.raises(errors):
            await client.create_thread(metadata)
        thread_id = await client.create_thread()
        with pytest.raises(errors):
            await client.update_thread(thread_id, metadata)
    assert foundry.calls == []


@pytest.mark.parametrize(("limit", "cursor"), [(0, None), (101, None), ("9", None), (9, 3)])
async def test_a_page_of_history_has_its_bounds(limit: Any, cursor: Any) -> None:
    foundry, errors = ScriptedFoundry(), (TypeError, InvalidRequestError)
    async with FoundryAgentServiceClient(at_resource(), http=foundry.transport) as client:
        thread_id = await client.create_thread()
        with pytest.raises(errors):
            await client.list_messages(thread_id, limit, cursor)
