"""What is done is one trace, under the names that the conventions give."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import opentelemetry.semconv._incubating.attributes as registry
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from local.services import ROOT
from shared.config import DEFAULT_MODEL
from shared.jobs.intake import IntakeMessage
from shared.observability.logs import LogIdsFilter
from tests.support.app_on_fakes import App as AppOnFakes
from tests.support.calling import caller
from tests.support.recording import recorded
from tests.support.served import Deployment, EmulatorControl

from .conftest import App, serving

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"

CHAT = f"chat {DEFAULT_MODEL}"
TURN = "invoke_agent"
SECRET = "Zanzibar"


def _registered() -> set[str]:
    """Every attribute of the official package."""
    modules = (
        importlib.import_module(f"{registry.__name__}.{module.name}")
        for module in pkgutil.iter_modules(registry.__path__)
    )
    return {
        value
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }


def named(spans: Sequence[ReadableSpan], name: str) -> ReadableSpan:
    """The one span of a name."""
    found = [span for span in spans if span.name == name]
    assert len(found) == 1, [span.name for span in spans]
    return found[0]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def place(span: ReadableSpan) -> SpanContext:
    """The ids of a span."""
    assert span.context is not None
    return span.context


def parent(span: ReadableSpan, spans: Sequence[ReadableSpan]) -> str | None:
    """The name of the span that a span is part of; None where that is somebody else's."""
    ids = {place(each).span_id: each.name for each in spans}
    return ids.get(span.parent.span_id) if span.parent else None


def assert_one_trace(spans: Sequence[ReadableSpan], trace_id: str = TRACE_ID) -> None:
    """All spans belong to the caller's trace, and bear names that the conventions know."""
    assert {f"{place(span).trace_id:032x}" for span in spans} == {trace_id}
    used = {name for span in spans for name in span.attributes or {}}
    unknown = {name for name in used if not name.startswith("aos.")} - _registered()
    assert not unknown
    operations = {value.value for value in gen_ai_attributes.GenAiOperationNameValues}
    providers = {value.value for value in gen_ai_attributes.GenAiProviderNameValues}
    for span in spans:
        said = attributes(span)
        assert said.get(gen_ai_attributes.GEN_AI_OPERATION_NAME, "chat") in operations
        assert said.get(gen_ai_attributes.GEN_AI_PROVIDER_NAME, "openai") in providers


async def test_a_job_is_one_trace_from_http_through_the_queue_to_the_table(
    app: App, emulator: EmulatorControl
) -> None:
    with recorded() as spans:
        body = {"message": f"Where is {SECRET}?", "new_thread": True, "domain": "geography"}
        submitted = await app.caller.post("jobs", json=body, headers={"traceparent": TRACEPARENT})
        job = submitted.json()
        assert await app.run_lanes() == 1

    assert_one_trace(spans)
    table = app.deployment.table
    assert parent(named(spans, "POST /api/jobs"), spans) is None
    assert parent(named(spans, "submit job"), spans) == "POST /api/jobs"
    processed = named(spans, f"process {app.deployment.lanes}")
    assert parent(processed, spans) == "submit job"
    assert parent(named(spans, TURN), spans) == processed.name
    assert parent(named(spans, CHAT), spans) == TURN
    writes = {parent(span, spans) for span in spans if span.name == f"write {table}"}
    assert writes >= {"submit job", processed.name}

    assert named(spans, "POST /api/jobs").kind is SpanKind.SERVER
    assert attributes(named(spans, "POST /api/jobs")) == {
        "http.request.method": "POST",
        "http.route": "/api/jobs",
        "http.response.status_code": 202,
        "url.scheme": "http",
        "aos.request.id": submitted.headers["x-request-id"],
    }
    assert (processed.kind, named(spans, "submit job").kind) == (
        SpanKind.CONSUMER,
        SpanKind.PRODUCER,
    )
    turn = attributes(named(spans, TURN))
    assert turn["aos.job.id"] == job["job_id"] == attributes(processed)["aos.job.id"]
    assert turn[gen_ai_attributes.GEN_AI_CONVERSATION_ID] == job["thread_id"]
    assert (turn["aos.mode"], turn["aos.domain"], turn["enduser.id"]) == (
        "job",
        "geography",
        "key",
    )
    assert turn[gen_ai_attributes.GEN_AI_USAGE_INPUT_TOKENS] > 0
    chat = attributes(named(spans, CHAT))
    assert chat[gen_ai_attributes.GEN_AI_OPERATION_NAME] == "chat"
    assert chat[gen_ai_attributes.GEN_AI_REQUEST_MODEL] == DEFAULT_MODEL
    assert chat[gen_ai_attributes.GEN_AI_RESPONSE_ID].startswith("resp_")
    assert chat[gen_ai_attributes.GEN_AI_RESPONSE_FINISH_REASONS] == ("stop",)
    for counted in ("input_tokens", "output_tokens"):
        assert chat[f"gen_ai.usage.{counted}"] == turn[f"gen_ai.usage.{counted}"] > 0
    assert chat["server.address"] == "127.0.0.1"
    assert named(spans, CHAT).kind is SpanKind.CLIENT
    assert SECRET not in repr([span.to_json() for span in spans])


async def test_a_streamed_turn_is_part_of_the_request_which_lasts_until_the_last_byte(
    app: App,
) -> None:
    headers = {"Accept": "text/event-stream", "traceparent": TRACEPARENT}
    with recorded() as spans:
        answer = await app.caller.post("messages", json={"message": "Hello"}, headers=headers)
    assert "turn.completed" in answer.text
    assert_one_trace(spans)
    request, turn, chat = (named(spans, n) for n in ("POST /api/messages", TURN, CHAT))
    assert (parent(turn, spans), parent(chat, spans)) == (request.name, TURN)
    assert (request.end_time or 0) >= (turn.end_time or 0) >= (chat.end_time or 0)
    assert attributes(chat)[gen_ai_attributes.GEN_AI_REQUEST_STREAM] is True
    assert attributes(chat)[gen_ai_attributes.GEN_AI_USAGE_OUTPUT_TOKENS] > 0


async def test_a_tool_has_its_span_between_two_requests_to_the_model(app: App) -> None:
    message = '/call look_up {"order": "7"}'
    with recorded() as spans:
        body = {"message": message, "tools": ["look_up"]}
        answer = await app.caller.post("messages", json=body, headers={"traceparent": TRACEPARENT})
    assert "on its way" in answer.json()["content"]
    assert_one_trace(spans)
    ran = named(spans, "execute_tool look_up")
    assert parent(ran, spans) == TURN
    said = attributes(ran)
    assert said[gen_ai_attributes.GEN_AI_TOOL_NAME] == "look_up"
    assert said[gen_ai_attributes.GEN_AI_TOOL_CALL_ID]
    before, after = (span for span in spans if span.name == CHAT)
    assert (before.end_time or 0) <= (ran.start_time or 0) <= (after.start_time or 0)
    assert "way" not in repr([span.to_json() for span in spans])


async def test_a_tool_that_fails_marks_its_span_without_its_words(app: App) -> None:
    body = {"message": '/call look_up {"order": "missing"}', "tools": ["look_up"]}
    with recorded() as spans:
        await app.caller.post("messages", json=body)
    ran = named(spans, "execute_tool look_up")
    assert ran.status.status_code is StatusCode.ERROR
    assert attributes(ran)[error_attributes.ERROR_TYPE] == "tool_failed"
    assert "secret words" not in repr([span.to_json() for span in spans])


async def test_a_failed_turn_says_why_in_each_span_on_the_way(
    deployment: Deployment, emulator: EmulatorControl
) -> None:
    await emulator.inject("status", status=400, body={"error": {"message": "No", "code": "bad"}})
    with recorded() as spans:
        async with serving(deployment, FOUNDRY_MAX_RETRIES="0") as app:
            answer = await app.caller.post("messages", json={"message": "Hello"})
    code = answer.json()["code"]
    chat, turn = named(spans, CHAT), named(spans, TURN)
    for span in (chat, turn):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None
        assert attributes(span)[error_attributes.ERROR_TYPE] == code
    assert attributes(chat)[http_attributes.HTTP_RESPONSE_STATUS_CODE] == 400
    assert named(spans, "POST /api/messages").status.status_code is StatusCode.UNSET


async def test_each_attempt_has_a_span_and_its_number(app: App, emulator: EmulatorControl) -> None:
    await emulator.inject("status", status=503, times=1)
    with recorded() as spans:
        await app.caller.post("messages", json={"message": "Hello"})
    first, second = (span for span in spans if span.name == CHAT)
    assert first.status.status_code is StatusCode.ERROR
    assert attributes(second)["http.request.resend_count"] == 1
    assert {parent(first, spans), parent(second, spans)} == {TURN}


async def test_what_was_said_is_in_spans_where_it_is_asked_for(deployment: Deployment) -> None:
    with recorded() as spans:
        async with serving(deployment, FOUNDRY_LOG_CONTENT="true") as app:
            await app.caller.post("messages", json={"message": f"Where is {SECRET}?"})
    turn = attributes(named(spans, TURN))
    assert SECRET in turn[gen_ai_attributes.GEN_AI_INPUT_MESSAGES]
    assert f"You said: Where is {SECRET}?" in turn[gen_ai_attributes.GEN_AI_OUTPUT_MESSAGES]


async def test_a_producer_of_the_intake_queue_gives_its_trace(app: App) -> None:
    body = f'{{"message": "Hi", "owner": "t:o", "traceparent": "{TRACEPARENT}"}}'.encode()
    with recorded() as spans:
        await app.services.workers.intake.receive(IntakeMessage("m", datetime.now(UTC), body))
    received = named(spans, f"process {app.deployment.intake}")
    assert f"{place(received).trace_id:032x}" == TRACE_ID
    assert parent(named(spans, "submit job"), spans) == received.name


async def test_an_unreadable_traceparent_is_ignored(app: App) -> None:
    with recorded() as spans:
        headers = {"traceparent": "00-nonsense"}
        answer = await app.caller.post("messages", json={"message": "Hello"}, headers=headers)
    assert answer.status_code == 200
    assert len({place(span).trace_id for span in spans}) == 1


async def test_foundry_is_told_the_trace() -> None:
    fakes = AppOnFakes()
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
    with recorded() as spans:
        async with caller(fakes.services()) as client:
            await client.post("messages", json={"message": "Hello"}, headers=headers)
    await fakes.aclose()
    (call,) = fakes.foundry.calls
    span_id = f"{place(named(spans, CHAT)).span_id:016x}"
    assert call.headers["traceparent"] == f"00-{TRACE_ID}-{span_id}-01"
    assert call.headers["tracestate"] == "vendor=1"


_WITHOUT_SDK = """
import asyncio, sys
from tests.support.app_on_fakes import App
from tests.support.calling import caller

async def main():
    app = App()
    async with caller(app.services()) as client:
        await client.post("messages", json={"message": "Hi"}, headers={"traceparent": sys.argv[1]})
    await app.aclose()
    print(app.foundry.calls[0].headers["traceparent"])

asyncio.run(main())
assert "opentelemetry.sdk" not in sys.modules
"""


def test_without_an_sdk_a_trace_is_passed_on_as_it_came() -> None:
    done = subprocess.run(  # noqa: S603 - a fixed command
        [sys.executable, "-c", _WITHOUT_SDK, TRACEPARENT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == TRACEPARENT, done.stderr


async def test_what_is_logged_carries_the_ids(emulator: EmulatorControl, app: App) -> None:
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keep()
    handler.addFilter(LogIdsFilter())
    logging.getLogger("shared").addHandler(handler)
    try:
        await emulator.inject("status", status=400)
        headers = {"traceparent": TRACEPARENT, "x-request-id": "mine"}
        with recorded() as spans:
            await app.caller.post("messages", json={"message": "Hello"}, headers=headers)
    finally:
        logging.getLogger("shared").removeHandler(handler)
    (failed,) = [record for record in records if record.msg.startswith("Turn %s failed")]
    ids = vars(failed)
    turn = named(spans, TURN)
    assert (ids["request_id"], ids["job_id"], ids["trace_id"]) == ("mine", "", TRACE_ID)
    assert ids["turn_id"] == attributes(turn)["aos.turn.id"]
    assert ids["span_id"] == f"{place(turn).span_id:016x}"


async def test_a_route_is_named_by_its_template_whatever_the_ids_are(app: App) -> None:
    with recorded() as spans:
        for path in ("threads/threads", "threads/api", "threads/messages/messages"):
            await app.caller.get(path)
    names = [span.name for span in spans if span.kind is SpanKind.SERVER]
    assert names == [
        "GET /api/threads/{thread_id}",
        "GET /api/threads/{thread_id}",
        "GET /api/threads/{thread_id}/messages",
    ]
