"""What answers of the OpenAI-compatible face say about budgets, and about formats they break."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_output_item import McpApprovalRequest
from pydantic import TypeAdapter

from local.services import FunctionsHost
from tests.support.client_keys import bearer
from tests.support.served import EmulatorControl
from tests.support.waiting import eventually

MODEL = "llama-3.3-70b"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
RESPONSE = {"model": MODEL, "input": "Hi"}
ASKED = [
    ("v1/chat/completions", CHAT),
    ("v1/responses", RESPONSE),
]
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
SEARCH = '/mcp search {"q": "x"}'
MEASURES = ("requests", "tokens")
DURATION = re.compile(r"(\d+h)?(\d+m)?\d+s")
BROKEN = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^Ada$"}},
    "required": ["name"],
    "additionalProperties": False,
}
"""The emulated model answers with the shortest text, which does not have the pattern."""


@pytest.fixture
async def spender(
    app: FunctionsHost, caller: httpx.AsyncClient
) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with budgets of its own."""
    budgets = [
        {"requests": 6, "per": "day"},
        {"requests": 1_000, "per": "minute"},
        {"tokens": 90_000, "per": "day"},
        {"tokens": 1_000_000, "per": "month"},
    ]
    created = await caller.post("keys", json={"label": "spender", "budgets": budgets})
    key = created.json()["key"]
    async with httpx.AsyncClient(
        base_url=f"{app.url}/api/", headers=bearer(key), timeout=30
    ) as client:
        yield client


def shown(answer: httpx.Response) -> dict[str, tuple[int, int]]:
    """Limit and rest of each measure; the resets are durations."""
    headers = answer.headers
    for measure in MEASURES:
        assert DURATION.fullmatch(headers[f"x-ratelimit-reset-{measure}"])
    return {
        measure: (
            int(headers[f"x-ratelimit-limit-{measure}"]),
            int(headers[f"x-ratelimit-remaining-{measure}"]),
        )
        for measure in MEASURES
    }


async def test_answers_show_the_tightest_budget(spender: httpx.AsyncClient) -> None:
    left: list[dict[str, tuple[int, int]]] = []
    for path, body in ASKED:
        for stream in (False, True):
            answer = await spender.post(path, json={**body, "stream": stream})
            assert answer.status_code == 200, answer.text
            left.append(shown(answer))
    assert [each["requests"] for each in left] == [(6, 5), (6, 4), (6, 3), (6, 2)]
    assert {each["tokens"][0] for each in left} == {90_000}
    assert all(80_000 < each["tokens"][1] < 90_000 for each in left)
    for _ in range(2):
        assert (await spender.post("messages", json={"message": "Hi"})).status_code == 200
    for path, body in ASKED:
        refused = await spender.post(path, json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
        assert refused.headers["x-ratelimit-limit-requests"] == "6"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.headers["x-should-retry"] == "false"


async def test_without_a_budget_there_are_no_such_headers(caller: httpx.AsyncClient) -> None:
    for path, body in ASKED:
        answer = await caller.post(path, json=body)
        assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


def formatted(path: str, text: str) -> dict[str, Any]:
    """A request for an answer in a format."""
    wanted = {"name": "person", "schema": BROKEN, "strict": True}
    if path == "v1/responses":
        return {
            "model": MODEL,
            "input": text,
            "text": {"format": {"type": "json_schema", **wanted}},
        }
    messages = [{"role": "user", "content": text}]
    form = {"type": "json_schema", "json_schema": wanted}
    return {"model": MODEL, "messages": messages, "response_format": form}


def part_of(path: str, document: dict[str, Any]) -> dict[str, Any]:
    """The message, or its only part."""
    if path == "v1/responses":
        return document["output"][0]["content"][0]
    return document["choices"][0]["message"]


@pytest.mark.parametrize("path", [path for path, _ in ASKED])
async def test_an_answer_that_breaks_its_format_is_given_as_it_is(
    caller: httpx.AsyncClient, path: str
) -> None:
    body = formatted(path, "Who?")
    answer = await caller.post(path, json=body)
    assert answer.status_code == 200, answer.text
    part = part_of(path, answer.json())
    assert json.loads(part.get("text") or part["content"]) == {"name": ""}
    streamed = await caller.post(path, json={**body, "stream": True})
    assert "error" not in [line.partition(" ")[2] for line in streamed.text.splitlines()]
    assert ("response.completed" in streamed.text) or ('"stop"' in streamed.text)
    schema = {"message": "Who?", "response_format": BROKEN}
    native = await caller.post("messages", json=schema)
    assert (native.status_code, native.json()["code"]) == (502, "response_format_mismatch")


@pytest.mark.parametrize("path", [path for path, _ in ASKED])
async def test_a_refusal_is_an_answer(caller: httpx.AsyncClient, path: str) -> None:
    answer = await caller.post(path, json=formatted(path, "/refuse"))
    assert answer.status_code == 200, answer.text
    assert part_of(path, answer.json())["refusal"] == "I cannot help with that."
    streamed = await caller.post(path, json={**formatted(path, "/refuse"), "stream": True})
    pieces = [json.loads(line[6:]) for line in streamed.text.splitlines() if '"refus' in line]
    assert any("I cannot help with that." in json.dumps(piece) for piece in pieces)


async def test_a_response_in_the_background_may_break_its_format(
    caller: httpx.AsyncClient,
) -> None:
    body = {**formatted("v1/responses", "Who?"), "background": True, "stream": True}
    stream = await caller.post("v1/responses", json=body)
    last = json.loads(stream.text.strip().rpartition("data: ")[2])
    assert last["type"] == "response.completed", last
    assert last["response"]["output"][0]["content"][0]["text"] == '{"name": ""}'


async def response(caller: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await caller.post("v1/responses", json={"model": MODEL, **body})
    assert answer.status_code == 200, answer.text
    if not body.get("stream"):
        return answer.json()
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:6] == "data: "]
    for number, event in enumerate(events):
        EVENT.validate_python(event)
        assert event["sequence_number"] == number
    last = events[-1]["response"]
    added = [e["item"] for e in events if e["type"] == "response.output_item.added"]
    assert [item["id"] for item in added] == [item["id"] for item in last["output"]]
    return last


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"background": True, "stream": True}])
@pytest.mark.parametrize(("approve", "says"), [(True, "found it"), (False, "denied: too costly")])
async def test_a_tool_waits_for_approval_in_a_conversation(
    caller: httpx.AsyncClient, more: dict[str, bool], approve: bool, says: str
) -> None:
    made = (await caller.post("v1/conversations", json={})).json()
    asked = await response(caller, conversation=made["id"], input=SEARCH, **more)
    assert asked["status"] == "completed"
    (item,) = Response.model_validate(asked).output
    assert isinstance(item, McpApprovalRequest)
    assert (item.server_label, item.name, json.loads(item.arguments)) == (
        *("docs", "search"),
        {"q": "x"},
    )
    read = await caller.get(f"v1/responses/{asked['id']}")
    assert read.json()["output"] == asked["output"]
    decision = {
        "type": "mcp_approval_response",
        "approval_request_id": item.id,
        "approve": approve,
        "reason": "too costly",
    }
    told = await response(caller, conversation=made["id"], input=[decision], **more)
    assert told["output"][0]["content"][0]["text"] == f"search answered: {says}"
    again = {"model": MODEL, "conversation": made["id"], "input": [decision]}
    refused = await caller.post("v1/responses", json=again)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")


async def test_nothing_is_approved_without_a_conversation(caller: httpx.AsyncClient) -> None:
    decision = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    for wrong in ([decision], [{**decision, "approve": None}]):
        refused = await caller.post("v1/responses", json={"model": MODEL, "input": wrong})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"].startswith("input")


async def test_a_consent_reaches_the_caller_and_does_not_break_a_chain(
    caller: httpx.AsyncClient,
) -> None:
    asked = await response(caller, input="/consent")
    (item,) = asked["output"]
    assert (item["type"], item["consent_link"]) == (
        "oauth_consent_request",
        "https://consent.example/mail",
    )
    told = await response(caller, input="Hello", previous_response_id=asked["id"])
    assert told["output"][0]["content"][0]["text"] == "You said: Hello"


LIGHT = {"type": "function", "name": "light", "parameters": {"type": "object"}}
SPACE = {"type": "namespace", "name": "home", "description": "A home.", "tools": [LIGHT]}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_function_in_a_namespace_makes_a_round_trip(
    caller: httpx.AsyncClient, stream: bool
) -> None:
    tools, said = [SPACE], {"role": "user", "content": "/call home__light {}"}
    asked = await response(caller, input=[said], tools=tools, stream=stream, store=False)
    (call,) = asked["output"]
    assert (call["type"], call["name"], call["namespace"]) == ("function_call", "light", "home")
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "on"}
    told = await response(caller, input=[said, call, output], tools=tools, stream=stream)
    assert told["output"][0]["content"][0]["text"] == "home__light answered: on"


async def test_a_tool_that_a_service_runs_is_used_if_the_app_offers_it(
    caller: httpx.AsyncClient,
) -> None:
    offered = {"type": "code_interpreter", "container": {"type": "auto"}}
    unknown = {"type": "computer_use_preview"}
    body = {**RESPONSE, "tools": [offered, unknown]}
    answer = await caller.post("v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    ignored = answer.headers["x-ignored-params"].split(", ")
    assert "tools.computer_use_preview" in ignored
    assert "tools.code_interpreter" not in ignored


async def test_a_response_in_the_background_is_cancelled_before_its_model_works(
    caller: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    """One that waits never runs; one whose model works is paid for, and keeps its answer."""
    await emulator.inject("hang", seconds=3, when="before", times=1)
    made = (await caller.post("v1/conversations", json={})).json()
    body = {"input": "/answer kept", "conversation": made["id"], "background": True}
    running, waiting = [await response(caller, **body) for _ in range(2)]

    async def status(of: dict[str, Any], *wanted: str) -> dict[str, Any] | None:
        read = (await caller.get(f"v1/responses/{of['id']}")).json()
        return read if read["status"] in wanted else None

    await eventually(lambda: status(running, "in_progress"))
    for each in (waiting, running):
        answer = await caller.post(f"v1/responses/{each['id']}/cancel")
        assert answer.status_code == 200, answer.text
    never = await eventually(lambda: status(waiting, "cancelled"))
    assert (never["output"], never["usage"], never["completed_at"]) == ([], None, None)
    kept = await eventually(lambda: status(running, "completed"), 30)
    assert kept["output"][0]["content"][0]["text"] == "kept"
    path = f"v1/responses/{waiting['id']}"
    stream = await caller.get(path, params={"stream": "true", "starting_after": "1"})
    last = json.loads(stream.text.strip().rpartition("data: ")[2])
    assert (last["type"], last["response"]) == ("response.failed", never)


@pytest.mark.parametrize(
    ("outputs", "says"),
    [(["x" * 1_100_000], "bytes"), (["x"] * 129, "at most 128")],
    ids=["size", "number"],
)
async def test_outputs_of_functions_are_limited_in_a_conversation(
    caller: httpx.AsyncClient, outputs: list[str], says: str
) -> None:
    made = (await caller.post("v1/conversations", json={})).json()
    items = [
        {"type": "function_call_output", "call_id": f"call_{number}", "output": text}
        for number, text in enumerate(outputs)
    ]
    body = {"model": MODEL, "conversation": made["id"], "input": items}
    refused = await caller.post("v1/responses", json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "input")
    assert says in error["message"]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "file", "file": {"file_id": "file_1"}}, "messages[0].content[0].type"),
        ({"type": "input_audio", "input_audio": {}}, "messages[0].content[0].type"),
    ],
)
async def test_parts_that_models_here_do_not_read_are_refused_by_name(
    caller: httpx.AsyncClient, part: dict[str, Any], param: str
) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": [part]}]}
    refused = await caller.post("v1/chat/completions", json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "unsupported_parameter")
    assert error["param"] == param


async def test_an_image_as_the_output_of_a_function(caller: httpx.AsyncClient) -> None:
    """In a conversation an output is text; it is refused by name, not lost."""
    made = (await caller.post("v1/conversations", json={})).json()
    image = {"type": "input_image", "image_url": "https://example.com/a.png"}
    output = {"type": "function_call_output", "call_id": "call_1", "output": [image]}
    body = {"model": MODEL, "conversation": made["id"], "input": [output]}
    refused = await caller.post("v1/responses", json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (
        *(400, "unsupported_parameter"),
        "input",
    )
