"""Problems: every error has its status and code, and no internal text leaks."""

from __future__ import annotations

import builtins
import inspect

import pytest

from shared.foundry import errors as foundry
from shared.problems import (
    INTERNAL_ERROR,
    NOT_FOUND,
    FieldError,
    Problem,
    ProblemError,
    ProblemKind,
    problem_from,
)
from shared.state import errors as state

SECRET = "AccountKey=abc"

FOUNDRY_PROBLEMS = {
    foundry.FoundryError: (503, "foundry_error"),
    foundry.ConfigurationError: (503, "configuration_error"),
    foundry.AuthenticationError: (503, "authentication_failed"),
    foundry.PermissionDeniedError: (503, "permission_denied"),
    foundry.NotFoundError: (502, "not_found"),
    foundry.ModelNotFoundError: (404, "model_not_found"),
    foundry.InvalidRequestError: (400, "invalid_request"),
    foundry.ContentFilteredError: (422, "content_filter"),
    foundry.ThreadBusyError: (409, "thread_busy"),
    foundry.RateLimitedError: (429, "rate_limited"),
    foundry.TimeoutError: (504, "timeout"),
    foundry.ServiceUnavailableError: (503, "service_unavailable"),
    foundry.QuotaExhaustedError: (503, "quota_exhausted"),
    foundry.UnknownFailureError: (503, "service_unavailable"),
    foundry.ProtocolError: (502, "protocol_error"),
}

STATE_PROBLEMS: list[tuple[state.StateError, int, str]] = [
    (state.KeyInUseError(2.0), 409, "idempotency_in_progress"),
    (state.KeyMismatchError(), 422, "idempotency_mismatch"),
    (state.LaneBusyError(4.2), 409, "thread_busy"),
    (state.LeaseLostError("taken over"), 409, "lease_lost"),
    (state.JobEndedError("failed"), 409, "job_ended"),
    (state.MetadataFullError(16), 422, "metadata_full"),
    (state.DocumentTooLargeError(9, 8), 413, "too_large"),
    (state.ConditionTooLongError(), 422, "invalid_request"),
    (state.StorageUnavailableError("down"), 503, "storage_unavailable"),
    (state.StorageContentionError("a row"), 503, "storage_contention"),
    (state.RowMissingError(SECRET), 404, "not_found"),
    (state.RowExistsError(SECRET), 500, "internal_error"),
    (state.RowChangedError(SECRET), 500, "internal_error"),
    (state.StateError(SECRET), 500, "internal_error"),
]


def classes_of(module: object, root: type[Exception]) -> set[type]:
    return {
        kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, root)
    }


def test_no_error_class_is_left_out() -> None:
    known = {*FOUNDRY_PROBLEMS, foundry.StreamInterruptedError, foundry.UnknownCallError}
    assert classes_of(foundry, foundry.FoundryError) == known
    assert classes_of(state, state.StateError) == {type(error) for error, _, _ in STATE_PROBLEMS}


def test_an_unknown_call_names_its_field() -> None:
    problem = problem_from(foundry.UnknownCallError("It is not open.", "outputs.0"))
    assert (problem.status, problem.code) == (422, "unknown_call")
    assert [error.field for error in problem.errors] == ["outputs.0"]


@pytest.mark.parametrize(("kind", "expected"), FOUNDRY_PROBLEMS.items())
def test_a_foundry_error_becomes_its_problem(
    kind: type[foundry.FoundryError], expected: tuple[int, str]
) -> None:
    problem = problem_from(kind("What to do.", retry_after=1.5))
    assert (problem.status, problem.code) == expected
    assert problem.detail == "What to do."
    assert problem.retry_after == 1.5


def test_a_broken_stream_is_503() -> None:
    error = foundry.StreamInterruptedError(
        "Broken.", request_id="r", received="Hel", response_id="resp_1", sequence_number=3
    )
    problem = problem_from(error)
    assert (problem.status, problem.code) == (503, "stream_interrupted")


@pytest.mark.parametrize(("error", "status", "code"), STATE_PROBLEMS)
def test_a_state_error_becomes_its_problem(error: state.StateError, status: int, code: str) -> None:
    problem = problem_from(error)
    assert (problem.status, problem.code) == (status, code)
    assert SECRET not in str(problem.to_json("r"))


def test_a_busy_lane_says_when_to_come_back() -> None:
    problem = problem_from(state.LaneBusyError(4.2))
    assert problem.retry_after == 4.2
    assert "lasts for another 5 s" in problem.detail  # as the Retry-After header says


@pytest.mark.parametrize(
    "error", [RuntimeError(SECRET), KeyError(SECRET), builtins.TimeoutError(SECRET)]
)
def test_what_nobody_foresaw_keeps_its_text_to_itself(error: Exception) -> None:
    assert problem_from(error) is INTERNAL_ERROR


def test_a_known_problem_passes_through() -> None:
    assert problem_from(ProblemError(NOT_FOUND)) is NOT_FOUND


def test_the_document_has_the_members_of_rfc_9457() -> None:
    problem = Problem(ProblemKind.INVALID_REQUEST, "No.", 1.23456, (FieldError("a.b", "is wrong"),))
    assert problem.to_json("req-1") == {
        "type": "about:blank",
        "title": problem.to_json()["title"],
        "status": 422,
        "detail": "No.",
        "code": "invalid_request",
        "request_id": "req-1",
        "retry_after": 1.235,
        "errors": [{"field": "a.b", "reason": "is wrong"}],
    }
    assert set(NOT_FOUND.to_json()) == {"type", "title", "status", "detail", "code"}
    assert NOT_FOUND.to_json()["title"] == "Not Found"
