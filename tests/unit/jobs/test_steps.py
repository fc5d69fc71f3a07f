"""Every decision about a lane's next step, and what each outcome writes."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.foundry import errors
from shared.foundry.models import FinishReason, TurnResult
from shared.jobs.steps import (
    FIRST_RETRY_SECONDS,
    MAX_ANSWERS_BYTES,
    MAX_FAILURES,
    MAX_RETRY_SECONDS,
    MAX_UNFINISHED,
    End,
    Run,
    Step,
    Wait,
)
from shared.state.jobs import JobStatus
from shared.state.keys import Kind, new_id, newest_first
from shared.state.mailbox import WaitingJob
from shared.state.table import Change, Operation, Row
from shared.turns.command import AnsweredTurn, TurnOpened
from tests.support.fakes import FakeClock

NOW = FakeClock().now
OWNER = "tid:oid"
JOB = new_id(Kind.JOB)
LANE = new_id(Kind.THREAD)
JOB_ROW, LANE_ROW = newest_first(JOB), newest_first(LANE)
THEN = Row(LANE_ROW, "v9", {"job_head": 1, "job_tail": 5})
"""The lane when the turn is over: more jobs have come."""

SOON, PAST = NOW + timedelta(seconds=30), NOW - timedelta(seconds=1)


def step(
    lane: dict[str, Any] | None = None, work: dict[str, Any] | None = None, **box: Any
) -> Step:
    """A step of a job with two messages."""
    values = {"job_id": JOB, "messages_done": 0, **box}
    head = WaitingJob(
        JOB, Row("box:1", "v1", values), {"messages": ["a", "b"], "options": {}, **(work or {})}
    )
    lane_row = Row(LANE_ROW, "v1", {"job_head": 1, "job_tail": 3, **(lane or {})})
    return Step(OWNER, LANE, lane_row, head)


LANE_NOW = Row(LANE_ROW, "v2", {"job_head": 1, "job_tail": 1})
"""The lane's row as the commit finds it."""


def answered(content: str = "Hello", **fields: Any) -> AnsweredTurn:
    result = TurnResult(content, FinishReason.STOP, "resp_1", "m", **fields)
    return AnsweredTurn(TurnOpened("turn_1", LANE), result, (), 1.0, NOW)


def by_key(changes: list[Change]) -> dict[str, Change]:
    """Changes by row; each row must be there once."""
    found = {change.row_key: change for change in changes}
    assert len(found) == len(changes)
    return found


@pytest.mark.parametrize(
    "box",
    [
        {},
        {"not_before": NOW},
        {"not_before": PAST},
        {"expires_at": SOON},
        {"expires_at": PAST, "begun": True},
        {"cancelled": False},
    ],
)
def test_what_may_run_runs(box: dict[str, Any]) -> None:
    assert step(**box).decide(NOW) == Run()
    assert step({"lane_stopped_at": 0}, **box).decide(NOW) == Run()


@pytest.mark.parametrize(
    ("lane", "box", "status", "code"),
    [
        ({}, {"cancelled": True}, "cancelled", "cancelled"),
        ({}, {"cancelled": True, "messages_done": 1}, "cancelled", "cancelled"),
        ({}, {"cancelled": True, "not_before": SOON}, "cancelled", "cancelled"),
        ({"lane_stopped_at": 1}, {}, "cancelled", "lane_stopped"),
        ({"lane_stopped_at": 2}, {"not_before": SOON}, "cancelled", "lane_stopped"),
        ({}, {"expires_at": NOW}, "expired", "expired"),
        ({}, {"expires_at": PAST, "not_before": SOON}, "expired", "expired"),
    ],
)
def test_what_is_not_wanted_ends(
    lane: dict[str, Any], box: dict[str, Any], status: str, code: str
) -> None:
    end = step(lane, **box).decide(NOW)
    assert isinstance(end, End)
    assert (end.status, end.problem.code) == (status, code)


def test_a_stop_does_not_reach_what_came_later() -> None:
    assert step({"job_head": 4, "job_tail": 4, "lane_stopped_at": 3}).decide(NOW) == Run()


def test_what_is_too_early_waits() -> None:
    assert step(not_before=SOON).decide(NOW) == Wait(30)


def test_the_turn_is_as_the_job_says() -> None:
    work = {"options": {"temperature": 0.0, "metadata": {"k": "v"}}}
    command = step(work=work, messages_done=1).command(30)
    assert (command.owner, command.thread_id, command.job_id) == (OWNER, LANE, JOB)
    assert (command.mode, command.seconds) == ("job", 30)
    assert (command.request.message, command.request.temperature) == ("b", 0.0)
    assert command.request.metadata == {"k": "v"}


def test_a_job_of_its_own_has_no_thread() -> None:
    lane = Step(OWNER, JOB, Row(JOB_ROW, "v1", {}), step().head)
    assert lane.command(30).thread_id is None


def test_the_start_is_guarded_by_the_box_and_told_once() -> None:
    first = by_key(step().starting(NOW))
    assert first["box:1"].etag == "v1"
    assert first[JOB_ROW].values == {"status": "running", "started_at": NOW}
    for later in (step(messages_done=1), step(attempts=1)):
        assert set(by_key(later.starting(NOW))) == {"box:1"}


def test_an_answer_in_between_moves_on() -> None:
    changes = by_key(step(attempts=2).finishing(answered(), LANE_NOW, NOW))
    assert set(changes) == {JOB_ROW, "box:1"}
    assert changes["box:1"].values == {"messages_done": 1, "attempts": 0, "unfinished": 0}
    assert changes[JOB_ROW].values["messages_done"] == 1
    assert "status" not in changes[JOB_ROW].values


def test_the_last_answer_ends_the_job() -> None:
    changes = by_key(step(messages_done=1).finishing(answered(), LANE_NOW, NOW))
    assert changes["box:1"].action is Operation.DELETE
    assert changes[LANE_ROW].values == {"job_head": 2}
    job = changes[JOB_ROW].values
    assert (job["status"], job["finished_at"], job["messages_done"]) == ("succeeded", NOW, 2)
    assert result_in(changes[JOB_ROW], 1) == {
        "turn_id": "turn_1",
        "content": "Hello",
        "truncated": False,
        "finish_reason": "stop",
        "model": "m",
        "agent_id": None,
        "tools_used": [],
        "usage": {},
        "source": "foundry_agent_service",
        "fallback_from": None,
        "attempts": [],
        "execution_time": 1.0,
        "metadata": {"response_id": "resp_1", "request_id": None},
    }


def result_in(change: Change, number: int) -> dict[str, Any]:
    chunks = [
        value
        for name, value in change.values.items()
        if name.startswith(f"result_{number}_") and isinstance(value, bytes)
    ]
    return json.loads(b"".join(chunks))


@pytest.mark.parametrize("character", ["x", "🙂", "\n", "\\", "ä", "\ud83d"])
def test_a_long_answer_is_cut_to_its_share_and_says_so(character: str) -> None:
    long = answered(character * MAX_ANSWERS_BYTES)
    result = result_in(by_key(step().finishing(long, LANE_NOW, NOW))[JOB_ROW], 0)
    assert result["truncated"]
    share = MAX_ANSWERS_BYTES // 2
    assert share // 2 < len(json.dumps(result["content"], ensure_ascii=False).encode()) <= share


PASSING: list[errors.FoundryError] = [
    errors.RateLimitedError("x"),
    errors.ServiceUnavailableError("x"),
    errors.ThreadBusyError("x"),
    errors.TimeoutError("x"),
    errors.ProtocolError("x"),
    errors.StreamInterruptedError(
        "x", request_id=None, received="", response_id=None, sequence_number=0
    ),
]
LASTING: list[errors.FoundryError] = [
    errors.ContentFilteredError("x"),
    errors.InvalidRequestError("x"),
    errors.ConfigurationError("x"),
    errors.AuthenticationError("x"),
    errors.PermissionDeniedError("x"),
    errors.NotFoundError("x"),
    errors.FoundryError("x"),
    errors.QuotaExhaustedError("x"),
    errors.UnknownFailureError("x"),
]


def test_an_answer_that_cannot_be_read_is_tried_once_more() -> None:
    again = step(work={"max_attempts": 20}, attempts=1)
    changes = by_key(again.finishing(errors.ProtocolError("x"), LANE_NOW, NOW))
    assert changes[JOB_ROW].values["status"] == "failed"


@pytest.mark.parametrize("error", PASSING, ids=lambda error: error.code)
def test_a_failure_that_may_pass_is_tried_again(error: errors.FoundryError) -> None:
    changes = by_key(step().finishing(error, LANE_NOW, NOW))
    assert set(changes) == {JOB_ROW, "box:1"}
    assert changes["box:1"].values["attempts"] == 1
    assert changes[JOB_ROW].values["attempts"] == 1
    (failure,) = json.loads(str(changes[JOB_ROW].values["failures"]))
    assert (failure["message"], failure["code"]) == (0, error.code)
    assert "problem" not in changes[JOB_ROW].values


@pytest.mark.parametrize("error", LASTING, ids=lambda error: error.code)
def test_any_other_ends_the_job(error: errors.FoundryError) -> None:
    changes = by_key(step().finishing(error, LANE_NOW, NOW))
    assert changes[JOB_ROW].values["status"] == "failed"
    assert changes[LANE_ROW].values == {"job_head": 2}
    assert changes["box:1"].action is Operation.DELETE


def pause_after(attempts: int, error: errors.FoundryError) -> float:
    more = {"max_attempts": 20}
    changes = by_key(step(work=more, attempts=attempts).finishing(error, LANE_NOW, NOW))
    not_before = changes["box:1"].values["not_before"]
    assert isinstance(not_before, datetime)
    return (not_before - NOW).total_seconds()


@pytest.mark.parametrize("attempts", range(12))
def test_the_pause_doubles_up_to_its_limit(attempts: int) -> None:
    bound = min(FIRST_RETRY_SECONDS * 2**attempts, MAX_RETRY_SECONDS)
    pauses = [pause_after(attempts, errors.ServiceUnavailableError("x")) for _ in range(50)]
    assert bound / 2 <= min(pauses) < max(pauses) <= bound


def test_what_foundry_asks_for_is_the_least() -> None:
    assert pause_after(0, errors.RateLimitedError("x", retry_after=100)) == 100
    assert pause_after(0, errors.RateLimitedError("x", retry_after=0.1)) > 2


@pytest.mark.parametrize(
    ("work", "attempts", "ends"),
    [
        ({}, 3, False),
        ({}, 4, True),
        ({"max_attempts": 1}, 0, True),
        ({"max_attempts": 2}, 0, False),
        ({"max_attempts": 2}, 1, True),
    ],
)
def test_attempts_are_counted(work: dict[str, Any], attempts: int, ends: bool) -> None:
    failed = errors.ServiceUnavailableError("x")
    changes = step(work=work, attempts=attempts).finishing(failed, LANE_NOW, NOW)
    assert (LANE_ROW in {change.row_key for change in changes}) is ends


def test_only_the_latest_failures_are_kept() -> None:
    many = json.dumps([{"message": 0, "code": str(n)} for n in range(MAX_FAILURES)])
    failing = step(failures=many, attempts_in_all=70)
    changes = failing.finishing(errors.InvalidRequestError("x"), LANE_NOW, NOW)
    job = by_key(changes)[JOB_ROW].values
    kept = json.loads(str(job["failures"]))
    assert (job["attempts"], len(kept)) == (71, MAX_FAILURES)
    assert [kept[0]["code"], kept[-1]["code"]] == ["1", "invalid_request"]


def test_a_message_at_which_workers_keep_dying_ends_its_job() -> None:
    dying = step(unfinished=MAX_UNFINISHED - 1)
    assert dying.decide(NOW) == Run()
    assert dying.starting(NOW)[0].values["unfinished"] == MAX_UNFINISHED
    end = step(unfinished=MAX_UNFINISHED).decide(NOW)
    assert isinstance(end, End)
    assert (end.status, end.problem.code) == (JobStatus.FAILED, "worker_lost")


def test_only_a_failure_stops_the_lane_and_only_where_asked_to() -> None:
    stopping, problem = step(stop_lane_on_failure=True), _problem()
    ended = {
        status: any(
            "lane_stopped_at" in change.values
            for change in stopping.ending(status, problem, LANE_NOW, NOW)
        )
        for status in (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED)
    }
    assert ended == {"failed": True, "cancelled": False, "expired": False}
    stop = by_key(stopping.ending(JobStatus.FAILED, problem, THEN, NOW)[-1:])[LANE_ROW]
    assert stop.values == {"lane_stopped_at": 5}
    plain = step().ending(JobStatus.FAILED, problem, LANE_NOW, NOW)
    assert not any("lane_stopped_at" in change.values for change in plain)


def _problem() -> Any:
    end = step(cancelled=True).decide(NOW)
    assert isinstance(end, End)
    return end.problem
