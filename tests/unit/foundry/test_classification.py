"""The same failure in every spelling and at every place gets the same treatment."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.foundry import errors
from shared.foundry.answer_reader import AnswerReader
from shared.foundry.answers import Stream
from shared.foundry.classification import kind_of
from shared.foundry.error_bodies import FOUNDRY, error_from_failure, error_from_response
from shared.foundry.errors import (
    BUSY,
    MISTAKE,
    OUTAGE,
    RATE_LIMIT,
    SETUP,
    SPENT,
    UNKNOWN,
    Treatment,
)
from shared.orchestration.chat_wire import ChatPeer, ChatStream, read_completion

JsonObject = dict[str, Any]

ERRORS: list[tuple[JsonObject, Treatment]] = [
    ({"code": "context_length_exceeded"}, MISTAKE),
    ({"code": "ContextLengthExceeded"}, MISTAKE),
    ({"code": "context_window_exceeded"}, MISTAKE),
    ({"code": "invalid_prompt"}, MISTAKE),
    ({"code": "invalid_something_new"}, MISTAKE),
    ({"code": "unsupported_thing"}, MISTAKE),
    ({"code": "image_too_large"}, MISTAKE),
    ({"code": "failed_to_download_image"}, MISTAKE),
    ({"code": "image_file_not_found"}, MISTAKE),
    ({"code": "string_above_max_length"}, MISTAKE),
    ({"code": "array_above_max_length"}, MISTAKE),
    ({"code": "token_limit_exceeded"}, MISTAKE),
    ({"code": "data_residency_mismatch"}, MISTAKE),
    ({"code": "UserError"}, MISTAKE),
    ({"code": "tool_user_error"}, MISTAKE),
    ({"code": "BadRequest"}, MISTAKE),
    ({"code": None, "type": "invalid_request_error"}, MISTAKE),
    ({"code": "", "type": "BadRequestError"}, MISTAKE),
    ({"code": 400, "type": "BadRequestError"}, MISTAKE),
    ({"code": "400"}, MISTAKE),
    ({"status": 400}, MISTAKE),
    ({"code": "content_filter"}, MISTAKE),
    ({"code": "contentFilter"}, MISTAKE),
    ({"code": "BadRequest", "innererror": {"code": "ResponsibleAIPolicyViolation"}}, MISTAKE),
    ({"code": "server_error", "innererror": {"code": "context_length_exceeded"}}, MISTAKE),
    ({"code": "server_error", "details": [{"code": "invalid_prompt"}]}, MISTAKE),
    ({"code": "misalignment_policy_violation"}, MISTAKE),
    ({"code": "rate_limit_exceeded"}, RATE_LIMIT),
    ({"code": "RateLimitExceeded"}, RATE_LIMIT),
    ({"code": "RATE_LIMIT_EXCEEDED"}, RATE_LIMIT),
    ({"code": "rateLimitReached"}, RATE_LIMIT),
    ({"code": "too_many_requests"}, RATE_LIMIT),
    ({"code": "TooManyRequests"}, RATE_LIMIT),
    ({"code": "429"}, RATE_LIMIT),
    ({"code": 429}, RATE_LIMIT),
    ({"code": None, "type": "rate_limit_error"}, RATE_LIMIT),
    ({"code": "", "type": "too_many_requests"}, RATE_LIMIT),
    ({"code": "TokensPerMinuteLimitExceeded"}, RATE_LIMIT),
    ({"code": "ThrottlingException"}, RATE_LIMIT),
    ({"code": "server_error", "innererror": {"code": "TooManyRequests"}}, RATE_LIMIT),
    ({"code": "server_error", "message": "Rate limit is exceeded. Try again."}, RATE_LIMIT),
    ({"code": "insufficient_quota"}, SPENT),
    ({"code": None, "type": "insufficient_quota"}, SPENT),
    ({"code": "billing_hard_limit_reached"}, SPENT),
    ({"code": 402}, SPENT),
    ({"code": "invalid_api_key"}, SETUP),
    ({"code": "PermissionDenied"}, SETUP),
    ({"code": "DeploymentNotFound"}, SETUP),
    ({"code": "model_not_found", "type": "invalid_request_error"}, SETUP),
    ({"code": "conversation_locked"}, BUSY),
    ({"code": "server_error"}, OUTAGE),
    ({"code": "server_error", "type": "invalid_request_error"}, OUTAGE),
    ({"code": "InternalServerError"}, OUTAGE),
    ({"code": "storage_error"}, OUTAGE),
    ({"code": "vector_store_timeout"}, OUTAGE),
    ({"code": 503}, OUTAGE),
    ({"code": "ServiceUnavailable"}, OUTAGE),
    ({"code": "", "type": "overloaded_error"}, OUTAGE),
    ({"code": "slow_down"}, OUTAGE),
    ({"code": "engine_overloaded"}, OUTAGE),
    ({"code": "E-4711"}, UNKNOWN),
    ({"message": "out of memory"}, UNKNOWN),
    ({"code": True}, UNKNOWN),
    ({"code": ["429"]}, UNKNOWN),
]

HEADERS = httpx.Headers({"Retry-After": "7"})


def raised(call: Callable[[], object]) -> errors.FoundryError:
    with pytest.raises(errors.FoundryError) as caught:
        call()
    return caught.value


def reader() -> AnswerReader:
    made = AnswerReader()

    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    made.open(Stream(nothing(), "req-1", HEADERS))
    return made


def event(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def failed(error: object) -> JsonObject:
    return {"id": "resp_1", "status": "failed", "error": error}


def in_two_events(error: JsonObject, *, error_first: bool) -> errors.FoundryError:
    frames = [event("response.failed", response=failed(None)), event("error", error=error)]
    answer = reader()
    first, second = reversed(frames) if error_first else frames
    assert answer.read(first) is None
    assert answer.is_failing
    return raised(lambda: answer.read(second))


def in_flat_event(error: JsonObject) -> errors.FoundryError:
    answer = reader()
    answer.read(json.dumps({**error, "type": "error"}))
    return raised(answer.conclude)


def in_event(error: JsonObject) -> errors.FoundryError:
    answer = reader()
    answer.read(json.dumps({"error": error}))
    return raised(lambda: answer.read("[DONE]"))


BY = ChatPeer(FOUNDRY, "m", "req-1", HEADERS)

PLACES: dict[str, Callable[[JsonObject], errors.FoundryError]] = {
    "a plain answer": lambda error: raised(lambda: reader().end(failed(error))),
    "an answer of an error alone": lambda error: raised(lambda: reader().end({"error": error})),
    "response.failed": lambda error: raised(
        lambda: reader().read(event("response.failed", response=failed(error)))
    ),
    "an error event": in_event,
    "a flat error event": in_flat_event,
    "failed, then error": lambda error: in_two_events(error, error_first=False),
    "error, then failed": lambda error: in_two_events(error, error_first=True),
    "a chat completion": lambda error: raised(
        lambda: read_completion({"error": error}, ChatStream(BY))
    ),
    "a chunk of one": lambda error: raised(
        lambda: ChatStream(BY).feed(json.dumps({"error": error}))
    ),
    "a choice of one": lambda error: raised(
        lambda: ChatStream(BY).feed(json.dumps({"choices": [{"delta": {}, "error": error}]}))
    ),
    "vLLM's chunk": lambda error: raised(
        lambda: ChatStream(BY).feed(json.dumps({"object": "error", **error}))
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_error_inside_an_answer(place: str) -> None:
    for error, treatment in ERRORS:
        if place == "a flat error event" and "type" in error:
            continue  # the event's own type stands where the error's would
        found = PLACES[place](error)
        assert found.treatment is treatment, (error, found.message)
        assert found.retry_after == 7
        assert found.request_id == "req-1"
        assert found.may_have_run
        assert not found.answer_may_come
        assert "429'" not in found.message


STATUSES: list[tuple[int, JsonObject, Treatment]] = [
    (400, {"error": {"code": "context_length_exceeded"}}, MISTAKE),
    (400, {"error": {"code": "server_error"}}, MISTAKE),
    (400, {"error": {"code": "too_many_requests"}}, RATE_LIMIT),
    (400, {"error": {"code": "invalid_api_key"}}, SETUP),
    (402, {}, SPENT),
    (403, {"statusCode": 403, "message": "Out of call volume quota. Wait 02:14:05."}, SPENT),
    (404, {"detail": "Not Found"}, SETUP),
    (409, {"error": {"code": "conversation_locked"}}, BUSY),
    (413, {}, MISTAKE),
    (422, {"detail": [{"loc": ["body"], "msg": "Field required"}]}, MISTAKE),
    (424, {"error": "Generation failed", "error_type": "generation"}, MISTAKE),
    (425, {}, OUTAGE),
    (429, {}, RATE_LIMIT),
    (429, {"error": {"type": "tokens", "code": "rate_limit_exceeded"}}, RATE_LIMIT),
    (429, {"error": {"type": "insufficient_quota", "code": "insufficient_quota"}}, SPENT),
    (429, {"error": {"code": "context_length_exceeded"}}, MISTAKE),
    (429, {"error": {"code": "NoCapacity"}}, RATE_LIMIT),
    (499, {}, OUTAGE),
    (500, {"error": {"code": "context_length_exceeded"}}, MISTAKE),
    (500, {"error": {"code": "invalid_thing_of_ours"}}, OUTAGE),
    (500, {"error": {"type": "invalid_request_error"}}, OUTAGE),
    (500, {"error": {"code": "content_filter"}}, MISTAKE),
    (500, {"error": {"message": "Too many requests"}}, RATE_LIMIT),
    (503, {"error": {"code": "429"}}, RATE_LIMIT),
    (503, {"error": {"code": "TooManyRequests"}}, RATE_LIMIT),
    (503, {"error": {"code": "E-4711"}}, OUTAGE),
    (529, {"error": {"type": "overloaded_error"}}, OUTAGE),
]


@pytest.mark.parametrize(("status", "body", "treatment"), STATUSES)
def test_a_status_and_its_body(status: int, body: JsonObject, treatment: Treatment) -> None:
    content = json.dumps(body).encode()
    error = error_from_response(status, httpx.Headers(HEADERS), content, "req-1")
    assert error.treatment is treatment, error.message
    assert (error.status_code, error.retry_after) == (status, 7)


@pytest.mark.parametrize(
    ("reason", "treatment"),
    [("rate_limit_exceeded", RATE_LIMIT), ("server_error", OUTAGE)],
)
def test_an_answer_that_is_incomplete_for_a_failure_has_failed(
    reason: str, treatment: Treatment
) -> None:
    body = {"id": "r", "status": "incomplete", "incomplete_details": {"reason": reason}}
    assert raised(lambda: reader().end(body)).treatment is treatment


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter", "steered", None])
def test_an_answer_that_is_incomplete_otherwise_is_an_answer(reason: str | None) -> None:
    body = {"id": "r", "status": "incomplete", "incomplete_details": {"reason": reason}}
    assert reader().end(body) == body


def test_the_two_events_of_a_failure_say_more_together() -> None:
    answer = reader()
    answer.read(event("error", code="server_error", message="Sorry."))
    limited = failed({"code": "rate_limit_exceeded", "message": "Try again in 3 s."})
    found = raised(lambda: answer.read(event("response.failed", response=limited)))
    assert found.treatment is RATE_LIMIT


def test_a_failure_without_any_reason_is_unknown() -> None:
    answer = reader()
    answer.read(event("response.failed", response=failed(None)))
    assert raised(answer.conclude).treatment is UNKNOWN
    answer.open(Stream(answer_chunks(), "req-2"))
    answer.conclude()  # another attempt has not failed


async def answer_chunks() -> AsyncIterator[bytes]:
    yield b""


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ({"retry_after": 3}, 3),
        ({"retryAfter": "4"}, 4),
        ({"retry_after_ms": 1500}, 1.5),
        ({"retryAfterSeconds": 2.5}, 2.5),
        ({"Retry-After": "1m30s"}, 90),
        ({"innererror": {"retry_after": "250ms"}}, 0.25),
        ({"message": "Please retry after 26 seconds."}, 26),
        ({"message": "Please try again in 250ms. Visit the page."}, 0.25),
        ({"message": "Try again in 1m30.5s"}, 90.5),
        ({"message": "Retry in 2 minutes"}, 120),
        ({"message": "retry after 5"}, 5),
        ({"message": "try again in 3 different ways"}, None),
        ({"message": "Wait for 1 minute and 5 seconds"}, 65),
        ({"retry_after": True}, None),
        ({"retry_after": {"seconds": 1}}, None),
        ({"retry_after": -1}, None),
        ({"retry_after": 10**400}, 120),
        ({"retry_after": "2105-10-21T07:28:00Z"}, 120),
    ],
)
def test_an_error_says_how_long_to_wait(field: JsonObject, seconds: float | None) -> None:
    error = error_from_failure({"code": "rate_limit_exceeded", **field}, "r")
    assert error.retry_after == seconds


NAMES = st.text(max_size=30) | st.sampled_from([str(e["code"]) for e, _ in ERRORS if "code" in e])


@given(st.none() | st.integers(400, 599), st.lists(NAMES), st.lists(NAMES), st.text())
def test_any_names_give_one_kind(
    status: int | None, codes: list[str], types: list[str], text: str
) -> None:
    kind = kind_of(status, codes, types, text)
    assert issubclass(kind, errors.FoundryError)
    assert kind(text).treatment.name
