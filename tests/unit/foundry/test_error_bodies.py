"""Every shape and status in which Foundry refuses, and what we make of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.foundry import errors
from shared.foundry.error_bodies import ErrorBody, error_from_failure, error_from_response
from shared.foundry.waits import MAX_RETRY_AFTER_SECONDS, retry_after


def refused(
    status: int, body: object = None, headers: dict[str, str] | None = None
) -> errors.FoundryError:
    content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    return error_from_response(status, httpx.Headers(headers or {}), content, "req-1")


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (
            b'{"error":{"code":"UserError","message":"Foundry","details":[],"innererror":{}}}',
            "UserError",
            "Foundry",
        ),
        (b'{"error":{"message":"OpenAI","type":"t","param":null,"code":null}}', "", "OpenAI"),
        (
            b'{"error":{"code":"429","message":"Rate limit is exceeded. Try again in 9 seconds."}}',
            "429",
            "Rate limit is exceeded. Try again in 9 seconds.",
        ),
        (b'{"statusCode":401,"message":"Unauthorized."}', "", "Unauthorized."),
        (b'{"code":"invalid_payload","message":"flat"}', "invalid_payload", "flat"),
        (b"<html><body>502 Bad Gateway</body></html>", "", ""),
        (b"", "", ""),
        (b"null", "", ""),
        (b'["error"]', "", ""),
        (b'{"error":null,"message":"outer"}', "", "outer"),
        (b"\xff\xfe", "", ""),
    ],
)
def test_it_reads_every_shape(content: bytes, code: str, message: str) -> None:
    body = ErrorBody.parse(content)
    assert (body.code, body.message) == (code, message)


@given(
    st.binary()
    | st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["error", "code", "message"]), inner)
        ),
    ).map(lambda body: json.dumps(body).encode())
)
def test_any_body_makes_an_error_and_never_breaks(content: bytes) -> None:
    error = refused(500, content)
    assert isinstance(error, errors.ServiceUnavailableError)
    assert "500" in error.message


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"code": "invalid_payload"}}, errors.InvalidRequestError),
        (
            400,
            {"error": {"message": "Not allowed when agent is specified."}},
            errors.InvalidRequestError,
        ),
        (
            400,
            {"error": {"code": "content_filter", "param": "prompt"}},
            errors.ContentFilteredError,
        ),
        (400, {"error": {"code": "conversation_locked"}}, errors.ThreadBusyError),
        (
            400,
            {"error": {"message": "Thread thread_1 already has an active run run_1."}},
            errors.ThreadBusyError,
        ),
        (
            400,
            {"error": {"message": "Can't add messages to t while a run run_1 is active."}},
            errors.ThreadBusyError,
        ),
        (401, {"statusCode": 401, "message": "Unauthorized"}, errors.AuthenticationError),
        (401, {"error": {"code": "PermissionDenied"}}, errors.PermissionDeniedError),
        (403, {}, errors.PermissionDeniedError),
        (403, b"<html>403 Forbidden</html>", errors.PermissionDeniedError),
        (404, {"error": {"code": "DeploymentNotFound"}}, errors.ModelNotFoundError),
        (408, {}, errors.TimeoutError),
        (409, {"error": {"code": "conversation_locked"}}, errors.ThreadBusyError),
        (409, {"error": {"code": "conversation_fork_not_supported"}}, errors.InvalidRequestError),
        (422, {}, errors.InvalidRequestError),
        (429, {"error": {"code": "rate_limit_exceeded"}}, errors.RateLimitedError),
        (429, {"error": {"code": "429"}}, errors.RateLimitedError),
        (431, {}, errors.InvalidRequestError),
        (500, {"error": {"code": "server_error"}}, errors.ServiceUnavailableError),
        (502, b"<html>", errors.ServiceUnavailableError),
        (503, b"", errors.ServiceUnavailableError),
        (504, {}, errors.ServiceUnavailableError),
    ],
)
def test_a_status_becomes_its_error(
    status: int, body: object, kind: type[errors.FoundryError]
) -> None:
    error = refused(status, body)
    assert type(error) is kind
    assert error.status_code == status
    assert error.request_id == "req-1"
    assert error.may_have_run == (status >= 500)


def test_the_text_says_what_foundry_said_and_what_to_do() -> None:
    error = refused(404, {"error": {"code": "DeploymentNotFound", "message": "No such thing."}})
    assert error.message == (
        "Foundry answered 404 (DeploymentNotFound): No such thing. "
        "Check the names of agent and model deployment; conversations can expire."
    )
    assert "Foundry User" in refused(403).message
    assert "quota" in refused(429).message


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after-ms": "1500"}, "", 1.5),
        ({"x-ms-retry-after-ms": "250"}, "", 0.25),
        ({"Retry-After": "7"}, "", 7),
        ({"Retry-After": "0"}, "", 0),
        ({"Retry-After": "1.5"}, "", 1.5),
        ({"retry-after-ms": "500", "Retry-After": "9"}, "", 0.5),
        ({"Retry-After": "86400"}, "", MAX_RETRY_AFTER_SECONDS),
        ({"Retry-After": "9" * 400}, "", MAX_RETRY_AFTER_SECONDS),
        ({"Retry-After": "-3"}, "", None),
        ({"retry-after-ms": "-3"}, "", None),
        ({"Retry-After": "nan"}, "", None),
        ({"Retry-After": "soon"}, "", None),
        ({"Retry-After": "Mon, 99 Foo 2020 00:00:00 GMT"}, "", None),
        ({"Retry-After": f"Mon, 01 Jan {10**20} 00:00:00 GMT"}, "", None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "", 0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00"}, "", 0),
        ({"Retry-After": "Wed, 21 Oct 2105 07:28:00 GMT"}, "", MAX_RETRY_AFTER_SECONDS),
        ({}, "Rate limit is exceeded. Try again in 12 seconds.", 12),
        ({}, "try again in 1 second", 1),
        ({}, "Please try again in 2.5 seconds", 2.5),
        ({}, "Try again in 86400 seconds.", MAX_RETRY_AFTER_SECONDS),
        ({}, "Try again later.", None),
        ({"Retry-After": "3"}, "Try again in 12 seconds.", 3),
    ],
)
def test_it_reads_how_long_to_wait(
    headers: dict[str, str], message: str, seconds: float | None
) -> None:
    assert retry_after(httpx.Headers(headers), message) == seconds


def test_a_date_says_how_long_from_now() -> None:
    seconds = retry_after({"retry-after": http_date(30)})
    assert seconds is not None
    assert 25 < seconds <= 30


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,30} Jan [0-9]{1,30} [0-9:]{1,30} \w+"))
def test_any_header_is_a_wait_or_nothing(value: str) -> None:
    for header in ("retry-after", "retry-after-ms"):
        seconds = retry_after({header: value})
        assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS


def test_an_unreadable_header_does_not_hide_a_readable_one() -> None:
    assert retry_after({"retry-after-ms": "soon", "retry-after": "4"}) == 4


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "server_error", "message": "x"}, errors.ServiceUnavailableError),
        ({"code": "storage_error"}, errors.ServiceUnavailableError),
        (
            {"code": "rate_limit_exceeded", "message": "Try again in 5 seconds."},
            errors.RateLimitedError,
        ),
        ({"code": "content_filter"}, errors.ContentFilteredError),
        ({"code": "invalid_prompt"}, errors.InvalidRequestError),
        ({"code": "image_too_large"}, errors.InvalidRequestError),
        ({"code": "unsupported_image_media_type"}, errors.InvalidRequestError),
        ({"code": "tool_user_error"}, errors.InvalidRequestError),
        ({"code": "something_new"}, errors.UnknownFailureError),
        ({}, errors.UnknownFailureError),
        (None, errors.UnknownFailureError),
    ],
)
def test_a_failure_inside_a_200_becomes_its_error(
    error: dict[str, str] | None, kind: type[errors.FoundryError]
) -> None:
    failure = error_from_failure(error, "req-2")
    assert type(failure) is kind
    assert failure.request_id == "req-2"
    assert failure.status_code is None


def test_a_wait_in_prose_survives_inside_a_200() -> None:
    failure = error_from_failure(
        {"code": "rate_limit_exceeded", "message": "Try again in 5 seconds."}, None
    )
    assert failure.retry_after == 5
