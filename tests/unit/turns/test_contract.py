"""The bodies callers send: limits at their edges, and nothing unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
from pydantic import ValidationError

from shared.api.messages import SendMessage
from shared.api.threads import CreateThread, PatchThread
from shared.config import NOT_SERVED, ModelType
from shared.foundry.models import TurnRequest
from shared.jobs.requests import MAX_MESSAGES, QueuedJob, SubmitJob
from shared.mcp.contract import McpMessage
from shared.routes import ROUTES
from shared.turns.body import MAX_MESSAGE_CHARS, Body
from shared.turns.options import MAX_TOOLS, TurnOptions, turn_request

OF_ROUTES = {
    body
    for route in ROUTES
    if (body := route.operation.body) and body.model_config.get("extra") == "forbid"
}
"""Of our own API; the bodies of OpenAI's may have fields that it ignores."""

BODIES = sorted({*OF_ROUTES, QueuedJob}, key=lambda body: body.__name__)
COUNTED = [body for body in BODIES if body is not McpMessage]
"""Those whose integers have limits; the `id` of JSON-RPC is any number or text."""
REQUIRED = {
    "SendMessage": {"message": "Hi"},
    "Orchestrate": {"user_input": "Hi", "conversation_id": "c"},
    "SubmitJob": {"message": "Hi"},
    "QueuedJob": {"message": "Hi", "owner": "o"},
    "CreateThread": {},
    "PatchThread": {"metadata": {}},
    "CreateKey": {"label": "k"},
    "McpMessage": {"jsonrpc": "2.0", "method": "ping"},
}
HI = {"message": "Hi"}
FULL = {f"{n:064}": "v" * 512 for n in range(16)}


def test_what_is_left_out_is_as_configured() -> None:
    body = SendMessage.model_validate(HI)
    assert turn_request(body, body.message) == TurnRequest("Hi")


def test_every_option_reaches_the_turn() -> None:
    options: dict[str, Any] = {
        "domain": "sales",
        "system_prompt": "Be brief.",
        "tools": ["a"],
        "model": "m",
        "temperature": 0.0,
        "max_tokens": 1,
        "top_p": 0.0,
        "metadata": {"k": "v"},
    }
    approvals = [{"id": "mcpr_1", "approve": True, "reason": None}]
    shaped = {"images": ["https://x.example/i.png"], "response_format": {"type": "object"}}
    assert {*options, *shaped, "approvals", "model_type"} == set(TurnOptions.model_fields)
    body = {**HI, **options, **shaped, "approvals": approvals}
    turn = turn_request(SendMessage.model_validate(body), "Hi")
    assert [asdict(each) for each in turn.approvals] == approvals
    plain = replace(turn, parts=(), response_format=None, approvals=())
    assert asdict(plain) == {**asdict(TurnRequest("Hi")), **options, "tools": ("a",)}
    assert [part["image_url"] for part in turn.parts] == shaped["images"]
    assert turn.response_format is not None
    assert turn.response_format.to_json()["schema"]["type"] == "object"


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (SendMessage, {"message": "x" * MAX_MESSAGE_CHARS}),
        (SendMessage, {**HI, "metadata": FULL}),
        (SendMessage, {**HI, "tools": ["t"] * MAX_TOOLS}),
        (SendMessage, {**HI, "temperature": 2, "top_p": 1, "domain": "d" * 64}),
        (CreateThread, {}),
        (CreateThread, {"expires_in": 60, "metadata": FULL}),
        (PatchThread, {"metadata": {"a": None, **FULL}}),
        (SubmitJob, {"messages": ["x"] * MAX_MESSAGES}),
        (SubmitJob, {**HI, "new_thread": True}),
        (QueuedJob, {**HI, "owner": "tid:oid", "job_id": "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"}),
    ],
)
def test_the_limits_themselves_are_allowed(model: type[Body], body: dict[str, Any]) -> None:
    assert body.keys() == model.model_validate(body).model_fields_set


@pytest.mark.parametrize(
    ("model", "body", "where"),
    [
        (SendMessage, {}, ("message",)),
        (SendMessage, {"message": ""}, ("message",)),
        (SendMessage, {"message": "x" * (MAX_MESSAGE_CHARS + 1)}, ("message",)),
        (SendMessage, {"message": 5}, ("message",)),
        (SendMessage, {**HI, "temperature": 2.1}, ("temperature",)),
        (SendMessage, {**HI, "temperature": float("nan")}, ("temperature",)),
        (SendMessage, {**HI, "max_tokens": 0}, ("max_tokens",)),
        (SendMessage, {**HI, "max_tokens": 1.5}, ("max_tokens",)),
        (SendMessage, {**HI, "tools": ["t"] * (MAX_TOOLS + 1)}, ("tools",)),
        (SendMessage, {**HI, "tools": "t"}, ("tools",)),
        (SendMessage, {**HI, "domain": ""}, ("domain",)),
        (SendMessage, {**HI, "metadata": {**FULL, "more": ""}}, ("metadata",)),
        (SendMessage, {**HI, "metadata": {"k": 1}}, ("metadata", "k")),
        (SendMessage, {**HI, "metadata": {"k": "v" * 513}}, ("metadata", "k")),
        (SendMessage, {**HI, "metadata": {"": "v"}}, ("metadata", "", "[key]")),
        (CreateThread, {"expires_in": 59}, ("expires_in",)),
        (PatchThread, {}, ("metadata",)),
        (PatchThread, {"metadata": {"k": 1}}, ("metadata", "k")),
        (SubmitJob, {}, ()),
        (SubmitJob, {**HI, "messages": ["x"]}, ()),
        (SubmitJob, {**HI, "thread_id": "thread_x", "new_thread": True}, ()),
        (SubmitJob, {"messages": []}, ("messages",)),
        (SubmitJob, {"messages": ["x"] * (MAX_MESSAGES + 1)}, ("messages",)),
        (SubmitJob, {"messages": ["x", ""]}, ("messages", 1)),
        (QueuedJob, HI, ("owner",)),
        (QueuedJob, {**HI, "owner": "x" * 257}, ("owner",)),
        (QueuedJob, {**HI, "owner": "o", "job_id": "job_x\n"}, ("job_id",)),
    ],
)
def test_what_is_beyond_them_is_refused_by_name(
    model: type[Body], body: dict[str, Any], where: tuple[str | int, ...]
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    assert [detail["loc"] for detail in caught.value.errors()] == [where]


@pytest.mark.parametrize("model", BODIES)
def test_an_unknown_field_is_an_error(model: type[Body]) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"colour": "red"})
    assert ("colour",) in {detail["loc"] for detail in caught.value.errors()}


@pytest.mark.parametrize("model", BODIES)
def test_every_field_is_documented(model: type[Body]) -> None:
    assert all(field.description for field in model.model_fields.values())


@pytest.mark.parametrize("model", BODIES)
def test_null_is_what_is_left_out(model: type[Body]) -> None:
    given = REQUIRED[model.__name__]
    for name, field in model.model_fields.items():
        if name not in given:
            body = model.read(json.dumps({**given, name: None}).encode())
            assert getattr(body, name) == field.get_default(call_default_factory=True)


def integers(schema: Any, definitions: Any) -> Iterator[tuple[str, Any]]:
    """Each integer of a schema: a document of it, with `$` in its place, and its own schema."""
    if "$ref" in schema:
        yield from integers(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if schema.get("type") == "integer":
        yield "$", schema
    for each in schema.get("anyOf", ()):
        yield from integers(each, definitions)
    for document, found in integers(schema["items"], definitions) if "items" in schema else ():
        yield f"[{document}]", found
    for name, each in schema.get("properties", {}).items():
        for document, found in integers(each, definitions):
            yield f'{{"{name}": {document}}}', found


def integers_of(model: type[Body]) -> Iterator[tuple[str, Any]]:
    """Bodies with `$` in place of an integer, and the schema of that integer."""
    schema = model.model_json_schema()
    for document, found in integers(schema, schema.get("$defs", {})):
        given = {**REQUIRED[model.__name__], **json.loads(document.replace("$", '"$"'))}
        for allowance in given.get("budgets", ()):
            if "concurrent" not in allowance:
                allowance["per"] = "day"
        yield json.dumps(given).replace('"$"', "$"), found


def test_every_body_with_integers_is_tried() -> None:
    assert {model.__name__: len([*integers_of(model)]) for model in COUNTED} == {
        "CreateKey": 3,
        "CreateThread": 1,
        "Orchestrate": 1,
        "PatchThread": 0,
        "QueuedJob": 3,
        "SendMessage": 1,
        "SubmitJob": 3,
    }


@pytest.mark.parametrize("model", COUNTED)
def test_a_whole_number_is_an_integer_however_it_is_written(model: type[Body]) -> None:
    for body, schema in integers_of(model):
        least, most = schema["minimum"], schema["maximum"]
        for number in (least, most):
            read = {
                model.read(body.replace("$", text).encode()).model_dump_json()
                for text in (f"{number}", f"{number}.0", f"{number}.000", f"{number}0e-1")
            }
            assert len(read) == 1
            assert f":{number}" in read.pop()
        refused = [f"{least}.5", f"{least - 1}.0", f"{most + 1}.0", "1e308", "1e400", "-1e400"]
        refused += ["-0.0", "NaN", "Infinity", "true", f'"{least}"', "[1]", "9" * 400]
        for text in refused:
            with pytest.raises(ValidationError):
                model.read(body.replace("$", text).encode())


@pytest.mark.parametrize("kind", NOT_SERVED)
def test_a_model_type_that_no_setting_configures_is_refused(kind: ModelType) -> None:
    with pytest.raises(ValidationError, match=r"use (FOUNDRY_AGENT_SERVICE|VLLM)"):
        SendMessage.read(json.dumps({**HI, "model_type": kind.value}).encode())


def test_a_jobs_texts_are_in_order() -> None:
    assert SubmitJob.model_validate(HI).texts == ["Hi"]
    assert SubmitJob.model_validate({"messages": ["a", "b"]}).texts == ["a", "b"]
