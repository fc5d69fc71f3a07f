"""What is sent for a turn, and how every kind of response is read."""

from __future__ import annotations

from typing import Any

import pytest

from shared.foundry import errors
from shared.foundry.endpoint import AgentReference
from shared.foundry.models import FinishReason, ThreadRef, TurnRequest, TurnResult
from shared.foundry.responses import RequestBuilder, parse_response, parse_usage
from shared.foundry.tools import Toolbox
from tests.support.app_on_fakes import at_project, at_resource
from tests.support.scripted_foundry import message_item, response_body

MODEL = RequestBuilder(at_resource(), None, Toolbox((), config=at_resource()))
AGENT = RequestBuilder(
    at_project(), AgentReference("helper", "3"), Toolbox((), config=at_project())
)


def test_a_model_gets_the_configured_options() -> None:
    assert MODEL.build(TurnRequest("Hi"), None) == {
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
        "store": False,
        "model": "llama-3.3-70b",
        "temperature": 0.7,
        "top_p": 0.9,
        "max_output_tokens": 4096,
    }


def test_what_the_caller_gives_goes_before_what_is_configured() -> None:
    turn = TurnRequest(
        "Hi",
        system_prompt="Be brief.",
        model="other",
        temperature=0.0,
        top_p=0.0,
        max_tokens=1,
        metadata={"k": "v"},
    )
    body = MODEL.build(turn, None)
    assert (body["model"], body["instructions"]) == ("other", "Be brief.")
    assert (body["temperature"], body["top_p"], body["max_output_tokens"]) == (0.0, 0.0, 1)
    assert body["metadata"] == {"k": "v"}


def test_a_domain_becomes_instructions_unless_there_are_some() -> None:
    assert "sales" in MODEL.build(TurnRequest("Hi", domain="sales"), None)["instructions"]
    turn = TurnRequest("Hi", domain="sales", system_prompt="Be brief.")
    assert MODEL.build(turn, None)["instructions"] == "Be brief."


def test_an_agent_gets_only_what_is_allowed_beside_it() -> None:
    assert AGENT.build(TurnRequest("Hi", domain="sales", max_tokens=7), None) == {
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
        "store": True,
        "agent_reference": {"type": "agent_reference", "name": "helper", "version": "3"},
        "max_output_tokens": 7,
    }


@pytest.mark.parametrize(
    "option", [{"system_prompt": "x"}, {"model": "m"}, {"temperature": 0.0}, {"top_p": 1.0}]
)
def test_what_the_agent_decides_is_refused_with_where_to_set_it(option: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequestError, match=next(iter(option))) as caught:
        AGENT.build(TurnRequest("Hi", **option), None)
    assert caught.value.code == "set_by_agent"
    assert "helper" in caught.value.message


@pytest.mark.parametrize(
    ("thread", "field"),
    [
        (ThreadRef("conv_1", "resp_1"), {"conversation": "conv_1"}),
        (ThreadRef(None, "resp_1"), {"previous_response_id": "resp_1"}),
        (ThreadRef(), {}),
    ],
)
def test_a_thread_is_named_by_exactly_one_field(thread: ThreadRef, field: dict[str, str]) -> None:
    body = MODEL.build(TurnRequest("Hi"), thread)
    named = {
        name: value
        for name, value in body.items()
        if name in {"conversation", "previous_response_id"}
    }
    assert named == field
    assert body["store"] is True


def test_threads_and_tools_that_are_switched_off_are_refused() -> None:
    config = at_resource(enable_stateful_threads=False, enable_foundry_tools=False)
    builder = RequestBuilder(config, None, Toolbox((), config=config))
    with pytest.raises(errors.ConfigurationError, match="FOUNDRY_ENABLE_STATEFUL_THREADS"):
        builder.build(TurnRequest("Hi"), ThreadRef())
    with pytest.raises(errors.ConfigurationError, match="FOUNDRY_ENABLE_FOUNDRY_TOOLS"):
        builder.build(TurnRequest("Hi", tools=("x",)), None)


def parsed(**fields: Any) -> TurnResult:
    return parse_response(response_body(**fields), request_id="req-1")


def test_a_completed_response_is_read_whole() -> None:
    result = parsed(
        model="llama-3.3-70b-2",
        conversation={"id": "conv_1"},
        agent_reference={"type": "agent_reference", "name": "helper", "version": "3"},
        output=[message_item("Hello ", id="msg_1"), message_item("Ada", id="msg_2")],
    )
    assert result == TurnResult(
        content="Hello Ada",
        finish_reason=FinishReason.STOP,
        response_id="resp_1",
        model="llama-3.3-70b-2",
        agent_id="helper:3",
        usage={"input_tokens": 2, "output_tokens": 3, "total_tokens": 5},
        last_item_id="msg_2",
        request_id="req-1",
    )


@pytest.mark.parametrize("reference", [None, {}, {"name": None}, "helper"])
def test_no_agent_in_the_answer_is_none(reference: object) -> None:
    assert parsed(agent_reference=reference).agent_id is None


def test_an_agent_without_version_is_its_name() -> None:
    assert parsed(agent_reference={"name": "helper"}).agent_id == "helper"


def test_an_answer_cut_by_its_length_says_so() -> None:
    details = {"reason": "max_output_tokens"}
    assert parsed(status="incomplete", incomplete_details=details).finish_reason == "length"
    assert parsed(status="incomplete", incomplete_details=None).finish_reason == "length"


def test_a_filtered_answer_is_an_error() -> None:
    with pytest.raises(errors.ContentFilteredError) as caught:
        parsed(status="incomplete", incomplete_details={"reason": "content_filter"})
    assert caught.value.request_id == "req-1"


def test_a_refusal_is_the_answer_where_there_is_no_other() -> None:
    refusal = {"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    refused = parsed(output=[refusal])
    assert (refused.content, refused.refusal) == ("I cannot.", "I cannot.")
    answered = parsed(output=[refusal, message_item("But this.")])
    assert (answered.content, answered.refusal) == ("But this.", "I cannot.")
    assert parsed().refusal is None


def test_tools_are_named_once_each_in_order() -> None:
    output = [
        {"type": "web_search_call", "id": "ws_1"},
        {"type": "function_call", "name": "lookup", "call_id": "c1"},
        {"type": "function_call", "name": "lookup", "call_id": "c2"},
        {"type": "bing_grounding_call", "id": "b"},
        {"type": "bing_grounding_call_output", "id": "bo"},
        {"type": "mcp_call", "name": "remote", "id": "m"},
        message_item("Done", id="msg_1"),
    ]
    assert parsed(output=output).tools_used == ("web_search", "lookup", "bing_grounding", "remote")


def test_items_nobody_knows_do_no_harm() -> None:
    output: list[Any] = [{"type": "hologram", "id": "h_1"}, {}, None, "text", 5]
    result = parsed(output=[*output, message_item("Hello")])
    assert result.content == "Hello"
    assert parsed(output=None).content == ""
    assert parsed(output=[]).last_item_id is None
    assert parsed(output=[{"type": "message", "content": None}]).content == ""
    assert parsed(output=[{"type": "message", "content": [{"type": "audio"}]}]).content == ""


@pytest.mark.parametrize(
    "part", [{"type": "output_text"}, {"type": "output_text", "text": None}, {"type": "refusal"}]
)
def test_a_text_part_without_text_is_empty(part: dict[str, Any]) -> None:
    assert parsed(output=[{"type": "message", "content": [part]}]).content == ""


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({}, {}),
        (
            {"input_tokens": 1, "output_tokens": None, "total_tokens": 0},
            {"input_tokens": 1, "total_tokens": 0},
        ),
        (
            {
                "input_tokens": 9,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens": 8,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 17,
            },
            {
                "input_tokens": 9,
                "output_tokens": 8,
                "total_tokens": 17,
                "cached_tokens": 4,
                "reasoning_tokens": 0,
            },
        ),
        ({"input_tokens_details": None, "output_tokens_details": {}}, {}),
        ({"input_tokens": "many"}, {}),
        ({"input_tokens": -1, "output_tokens": 3, "total_tokens": 2.0}, {"output_tokens": 3}),
        ({"input_tokens": True, "output_tokens": False, "total_tokens": float("nan")}, {}),
        ({"input_tokens": 2**63, "output_tokens": 10**400, "total_tokens": 10**9}, {}),
        ({"input_tokens": 1, "input_tokens_details": {"cached_tokens": -4}}, {"input_tokens": 1}),
        ({"input_tokens": [1], "output_tokens": {"n": 1}}, {}),
    ],
)
def test_counts_nobody_reported_stay_absent(usage: dict[str, Any], counts: dict[str, int]) -> None:
    assert parse_usage(usage) == counts


def test_missing_or_null_usage_is_empty() -> None:
    assert parsed(usage=None).usage == {}
    body = response_body()
    del body["usage"]
    assert parse_response(body, request_id=None).usage == {}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {"agent_id": "aos-agent-001"}),
        ({"a": "b", "agent_id": "x"}, {"a": "b", "agent_id": "aos-agent-001"}),
        ({str(n): "" for n in range(16)}, {str(n): "" for n in range(16)}),
    ],
)
def test_a_resource_endpoint_is_told_in_whose_name_it_is_asked(
    given: dict[str, str], sent: dict[str, str]
) -> None:
    builder = RequestBuilder(at_resource(agent_id="aos-agent-001"), None, Toolbox(()))
    assert builder.build(TurnRequest("Hi", metadata=given), None)["metadata"] == sent
