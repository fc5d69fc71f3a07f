"""The running app answers as its document says, and the examples of the document are its answers.

`WRITE_EXAMPLES=1` writes the answers into the examples; `make openapi` then writes the document.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from shared.api.document import EXAMPLES, document_file
from shared.config import AuthMode
from shared.routes import ROUTES
from tests.support.api_document import operations, published, unlike, wrong
from tests.support.asking import ended, submit
from tests.support.waiting import eventually

STREAM = "text/event-stream"
LINES = "application/x-ndjson"
CSV = "text/csv"
METRICS = "application/openmetrics-text"
HTML = "text/html"
PREFER_ASYNC = (("prefer", "respond-async"),)
OWN_SEND = "limit=1&action=send&thread_id={thread_id}"
EXAMPLE_ULID = "01JBN7V9D3QK2H8M4T6R0XW5YZ"
EXAMPLE_MOMENT = "2026-03-01T09:14:03.120000+00:00"
EXAMPLE_UUID = "d5e0b6b4-7f0e-4c5e-9a43-0e5d9b8f4b6d"

NOT_CALLED = {
    ("deleteThread", "202"): "tests/unit/threads/test_removal.py",
    ("eraseMyData", "202"): "tests/e2e/test_erasing.py",
    ("sendMcpMessage", "202"): "tests/e2e/test_mcp.py",
    ("getReadiness", "503"): "tests/integration/observability/test_readiness.py",
}
"""Answers that need a failure or a very long thread, and where they are made."""


@dataclass(frozen=True)
class Call:
    operation: str
    status: int = 200
    accept: str = "application/json"
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def is_openai(self) -> bool:
        """Whether it is of the OpenAI-compatible face, whose streams have events of one form."""
        return operations()[self.operation][1].startswith("/api/v1/")

    @property
    def example(self) -> str:
        """The name of the answer among the examples."""
        return str(self.status) if self.accept == "application/json" else self.accept


CALLS = [
    Call("getHealth"),
    Call("getReadiness"),
    Call("sendMessage"),
    Call("sendMessage", accept=STREAM),
    Call("createThread", 201),
    Call("listThreads", query="limit=1&metadata.department=finance"),
    Call("getThread"),
    Call("patchThread"),
    Call("sendThreadMessage"),
    Call("sendThreadMessage", accept=STREAM),
    Call("listThreadMessages", query="limit=2"),
    Call("submitJob", 202),
    Call("getJob", query="wait=30"),
    Call("listJobs", query="limit=1&status=succeeded"),
    Call("cancelJob", 202),
    Call("orchestrateMessage"),
    Call("orchestrateMessage", accept=STREAM),
    Call("sendMcpMessage"),
    Call("sendMcpMessage", accept=STREAM),
    Call("sendMessage", 202, headers=PREFER_ASYNC),
    Call("sendThreadMessage", 202, headers=PREFER_ASYNC),
    Call("orchestrateMessage", 202, headers=PREFER_ASYNC),
    Call("listModels"),
    Call("listTools"),
    Call("getMe"),
    Call("getMetrics", query="by=model"),
    Call("getUsage"),
    Call("getUsage", accept=CSV),
    Call("listAuditRecords", query=OWN_SEND),
    Call("listAuditRecords", accept=LINES, query=OWN_SEND),
    Call("getPrometheusMetrics", accept=METRICS),
    Call("getApiDocument"),
    Call("getDocsPage", accept=HTML),
    Call("createKey", 201),
    Call("listKeys", query="limit=1"),
    Call("getKey"),
    Call("revokeKey"),
    Call("listOpenAiModels"),
    Call("getOpenAiModel"),
    Call("createChatCompletion"),
    Call("createChatCompletion", accept=STREAM),
    Call("createResponse", accept=STREAM),
    Call("createResponse"),
    Call("getResponse"),
    Call("getResponse", accept=STREAM, query="stream=true&starting_after=0"),
    Call("listInputItems"),
    Call("cancelResponse"),
    Call("deleteResponse"),
    Call("createConversation"),
    Call("getConversation"),
    Call("updateConversation"),
    Call("addItems"),
    Call("listItems", query="limit=1"),
    Call("getItem"),
    Call("deleteItem"),
    Call("deleteConversation"),
    Call("deleteThread", 204),
    Call("eraseMyData"),
]
examples: dict[str, Any] = json.loads(EXAMPLES.read_text())


MAKES = {
    "createThread": "thread_id",
    "submitJob": "job_id",
    "createKey": "key_id",
    "createResponse": "response_id",
    "createConversation": "conversation_id",
    "addItems": "item_id",
}
"""The ids that answers bring."""


class Session:
    """Makes the calls one after the other, with the ids that earlier ones returned."""

    def __init__(self, caller: httpx.AsyncClient) -> None:
        self.caller = caller
        self.ids: dict[str, str] = {"model_id": "llama-3.3-70b"}

    async def answer_to(self, call: Call) -> httpx.Response:
        method, path, _ = operations()[call.operation]
        if call.operation == "cancelJob":
            later = {"message": "Later", "not_before": "2999-01-01T00:00:00Z"}
            self.ids["job_id"] = await submit(self.caller, **later)
        body = examples.get(call.operation, {}).get("body")
        if call.operation == "cancelResponse":
            asked = {**examples["createResponse"]["body"], "background": True}
            made = await self.caller.post("v1/responses", json=asked)
            self.ids["response_id"] = made.json()["id"]
        if call.is_openai and call.accept == STREAM and body is not None:
            body = {**body, "stream": True}
        if call.operation == "deleteResponse":
            await self._ended_response()
        url = f"{path.removeprefix('/api/')}?{call.query}".format_map(self.ids)
        headers = {"accept": call.accept, **dict(call.headers)}
        answer = await self.caller.request(method, url, json=body, headers=headers)
        assert answer.status_code == call.status, (call, answer.text)
        if call.accept != STREAM and (made := MAKES.get(call.operation)):
            found = answer.json()
            found = found["data"][0] if "data" in found else found
            self.ids[made] = found.get(made) or found["id"]
        return answer

    async def _ended_response(self) -> None:
        address = f"v1/responses/{self.ids['response_id']}"

        async def has_ended() -> bool:
            read = (await self.caller.get(address)).json()
            return read["status"] not in {"queued", "in_progress"}

        await eventually(has_ended)


def bodies(answer: httpx.Response) -> list[Any]:
    """What an answer holds: a document, the events of a stream, or the lines of a text."""
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if kind == "application/json":
        return [answer.json()]
    if kind == STREAM:
        blocks = [b for b in answer.text.strip().split("\n\n") if not b.startswith(":")]
        return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
    if kind == LINES:
        return [json.loads(line) for line in answer.text.splitlines()]
    return [answer.text] if answer.content else [None]


def tidy(value: Any) -> Any:
    """An answer with the ids and times of examples."""
    if isinstance(value, dict):
        return {_text(name): tidy(each) for name, each in value.items()}
    if isinstance(value, list):
        return [tidy(each) for each in value]
    if isinstance(value, float):
        return round(value, 3)
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    text = re.sub(r"\b([a-z]+)_(?=\w*\d)[0-9A-Za-z]{20,}", rf"\1_{EXAMPLE_ULID}", text)
    text = re.sub(r"\baos_([0-9a-z]+)_\w+", r"aos_\1_<secret>", text)
    text = re.sub(r"\b(jobs|lanes|deliveries)-[0-9a-f]{12}", r"agent-\1", text)
    text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", EXAMPLE_UUID, text)
    text = re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)", EXAMPLE_MOMENT, text)
    return re.sub(r"\b202\d-\d\d-\d\d\b(?!T)", EXAMPLE_MOMENT[:10], text)


def to_example(call: Call, answer: httpx.Response) -> Any:
    """An answer as the document shows it: the first event of each kind, the first lines."""
    found = [tidy(each) for each in bodies(answer)]
    if call.accept == STREAM and call.is_openai:
        return found[0]
    if call.accept == STREAM and "event" in found[0]:
        return list({event["event"]: event for event in reversed(found)}.values())[::-1]
    if call.operation == "getApiDocument":
        return {name: found[0][name] for name in ("openapi", "info")}
    if call.accept in {METRICS, HTML}:
        return "".join(found[0].splitlines(keepends=True)[:3])
    return found[0]


def lacks(call: Call, new: Any, known: Any) -> list[str]:
    """What either an answer or its example lacks."""
    if new is None or known is None:
        return [] if new is known else ["the whole"]
    if call.accept == STREAM and isinstance(new, list):
        return sorted({event["event"] for event in new} ^ {event["event"] for event in known})
    content = operations()[call.operation][2]["responses"][str(call.status)]["content"]
    return list(unlike(content[call.accept]["schema"], new, known))


def test_answers_are_as_their_examples_whatever_was_asked_before() -> None:
    known = examples["getMetrics"]["answers"]["200"]
    call = Call("getMetrics")
    group = {**known["groups"][0], "failures": {"timeout": 3}}
    for busy in (
        {"failures": {"timeout": 3}, "models": {"vllm": {"breaker": "open"}}},
        {"groups": []},
        {"groups": [group, group]},
    ):
        assert lacks(call, {**known, **busy}, known) == []
    for name in ("gauges", "models"):
        without = {key: each for key, each in known.items() if key != name}
        assert lacks(call, without, known) == lacks(call, known, without) == [f"/{name}"]
    del group["model"]
    assert lacks(call, {**known, "groups": [group]}, known) == ["/groups/0/model"]


def test_every_operation_and_answer_is_called() -> None:
    assert operations().keys() == published() == {call.operation for call in CALLS}
    called = {(call.operation, call.example) for call in CALLS} | NOT_CALLED.keys()
    declared = {
        (name, kind if status.startswith("2") and kind != "application/json" else status)
        for name, (_, _, operation) in operations().items()
        for status, answer in operation["responses"].items()
        if status.startswith("2")
        for kind in (answer.get("content") or {"application/json": None})
    }
    assert declared - called == set()


async def test_every_answer_is_as_declared_and_as_its_example(caller: httpx.AsyncClient) -> None:
    session, problems = Session(caller), list[str]()
    for call in CALLS:
        answer = await session.answer_to(call)
        kind = answer.headers.get("content-type", "")
        for body in bodies(answer):
            problems += wrong(call.operation, call.status, kind, body)
        declared = operations()[call.operation][2]["responses"][str(call.status)]["headers"]
        optional = {"Idempotency-Replayed", "x-budget-warning", "Link", "x-ignored-params"}
        optional |= {name for name in declared if name.startswith("x-ratelimit-")}  # of a budget
        optional |= {"Preference-Applied"} if call.status == 200 else set()
        optional |= {"x-overhead-ms"} if call.accept == STREAM else set()
        missing = {h.lower() for h in declared.keys() - optional} - set(answer.headers)
        problems += [f"{call}: no header {name}" for name in missing]
        if call.status == 202 and call.operation != "cancelJob":
            await ended(caller, answer.json()["job_id"])
        new = to_example(call, answer)
        if os.environ.get("WRITE_EXAMPLES") and new is not None:
            examples.setdefault(call.operation, {}).setdefault("answers", {})[call.example] = new
        known = examples.get(call.operation, {}).get("answers", {}).get(call.example)
        problems += [
            f"{call}: only one has {name}: {known} {new}" for name in lacks(call, new, known)
        ]
    if os.environ.get("WRITE_EXAMPLES"):
        EXAMPLES.write_text(json.dumps(examples, indent=1, ensure_ascii=False) + "\n")
    assert problems == []


async def test_events_hold_what_is_declared(caller: httpx.AsyncClient) -> None:
    for name in ("sendMessage", "orchestrateMessage"):
        method, path, operation = operations()[name]
        stream = operation["responses"]["200"]["content"][STREAM]["schema"]["oneOf"]
        declared = {each["properties"]["event"]["const"]: each for each in stream}
        answer = await caller.request(
            method,
            path.removeprefix("/api/"),
            json=examples[name]["body"],
            headers={"accept": STREAM},
        )
        for event in bodies(answer):
            data = declared[event["event"]]["properties"]["data"]["contentSchema"]
            assert complaints_of(data, event) == []


def complaints_of(schema: dict[str, Any], event: dict[str, str]) -> list[str]:
    from tests.support.api_document import complaints

    return complaints(schema, json.loads(event["data"]))


async def test_the_document_is_served_once_and_then_known(caller: httpx.AsyncClient) -> None:
    first = await caller.get("openapi.json")
    assert first.content == document_file(ROUTES, AuthMode.FUNCTION)
    assert first.json()["security"][:2] == [{"functionKey": []}, {"functionKeyQuery": []}]
    tag = first.headers["etag"]
    for given in (tag, f'"other", W/{tag}'):
        again = await caller.get("openapi.json", headers={"If-None-Match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert (await caller.get("openapi.json", headers={"If-None-Match": '"x"'})).status_code == 200


@pytest.mark.parametrize("name", ["start.js", "swagger-ui.css", "swagger-ui-bundle.js"])
async def test_the_files_of_the_page_are_served_whole(caller: httpx.AsyncClient, name: str) -> None:
    packed = await caller.get(f"docs/{name}", headers={"accept-encoding": "gzip"})
    plain = await caller.get(f"docs/{name}", headers={"accept-encoding": "gzip;q=0, identity"})
    assert packed.content == plain.content
    assert "content-encoding" not in plain.headers
    policy = packed.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert packed.headers["x-content-type-options"] == "nosniff"
