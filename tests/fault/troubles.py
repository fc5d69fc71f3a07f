"""What can go wrong with a turn, and what a caller shall get then."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.support.laboratory import JsonObject, Where

from .turning import ANSWER, Way

EVENTS = 11
"""Of the scripted answer to a message of one word: three of text, four before, four behind."""

FIRST_TEXT = 4

STREAM_FAULTS = {"cut_stream", "malformed_event", "no_terminal"}
"""Faults that strike the events of an answer."""

LIMIT_SECONDS = 20.0
SHORT_SECONDS = 2.0

Given = tuple[Way | None, Where | None]


@dataclass(frozen=True)
class Trouble:
    """One row of the matrix."""

    name: str
    fault: JsonObject = field(default_factory=dict[str, Any])
    outcome: str = ANSWER
    """An outcome, or several that may be, divided by `|`."""
    otherwise: dict[Given, str] = field(default_factory=dict[Given, str])
    """Outcomes for some ways and places; None stands for all of them."""
    message: str = "{name}"
    timeout: float = LIMIT_SECONDS
    unreachable: bool = False
    gone: bool = False
    """What backs the thread was deleted; the fault stands in where nothing does."""
    recovers: bool = True
    """The same message gets its answer in the next turn."""

    @property
    def alone_in_process(self) -> bool:
        """Whether other turns of the process would feel it: a refusal by quota holds them all."""
        return self.unreachable or self.fault.get("status") == 429

    def expected(self, way: Way, where: Where) -> list[str]:
        for (a_way, a_where), outcome in self.otherwise.items():
            if a_way in {None, way} and a_where in {None, where}:
                return outcome.split("|")
        return self.outcome.split("|")


def _status(status: int, **headers: str) -> JsonObject:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"kind": "status", "status": status, "headers": named}


def _locked(times: int | None) -> JsonObject:
    error = {"code": "conversation_locked", "message": "Another process is operating on it."}
    return {**_status(409), "body": {"error": error}, "times": times}


def _prose() -> JsonObject:
    text = "Rate limit is exceeded. Try again in 1 seconds."
    return {**_status(429), "body": {"error": {"code": "429", "message": text}}}


def _date() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)


UNKEPT: dict[Given, str] = {
    (None, Where.CHAIN): "service_unavailable",
    (None, Where.ALONE): "service_unavailable",
}


def _broken_stream(kind: str, number: int) -> Trouble:
    """The stream breaks at event ``number``; only without a thread is the rest not to be had."""
    position = {"after_events": number} if kind == "cut_stream" else {"at": number}
    otherwise: dict[Given, str] = {}
    if number > FIRST_TEXT:
        otherwise[Way.STREAM, Where.ALONE] = "stream_interrupted"
    return Trouble(f"{kind} {number}", {"kind": kind, **position}, otherwise=otherwise)


def troubles() -> list[Trouble]:
    """All rows; made anew for each run because one holds a date."""
    quota = [
        Trouble("429 retry-after-ms", _status(429, retry_after_ms="50")),
        Trouble("429 x-ms-retry-after-ms", _status(429, x_ms_retry_after_ms="50")),
        Trouble("429 retry-after seconds", _status(429, retry_after="1")),
        Trouble("429 retry-after date", _status(429, retry_after=_date())),
        Trouble("429 in prose", _prose()),
        Trouble("429 bare", _status(429)),
        Trouble("429 for too long", _status(429, retry_after="3600"), "rate_limited"),
        Trouble("429 always", {**_status(429, retry_after_ms="20"), "times": None}, "rate_limited"),
    ]
    refusals = [
        Trouble("500", _status(500)),
        Trouble("503", _status(503)),
        Trouble("503 always", {**_status(503), "times": None}, "service_unavailable"),
        Trouble("403 page of a proxy", {"kind": "html", "status": 403}, "permission_denied"),
        Trouble("502 page of a proxy", {"kind": "html", "status": 502}),
        Trouble("conversation_locked", _locked(2)),
        Trouble("conversation_locked always", _locked(None), "thread_busy"),
        Trouble("gone", _status(404), "not_found", gone=True, recovers=False),
        Trouble(
            "prompt filtered",
            outcome="content_filter",
            message="{name} [[content_filter]]",
            recovers=False,
        ),
    ]
    connections = [
        Trouble("connection refused", outcome="service_unavailable", unreachable=True),
        Trouble("drop before work", {"kind": "drop"}),
        Trouble("drop always", {"kind": "drop", "times": None}, "service_unavailable"),
        Trouble("drop after work", {"kind": "work_then_drop"}),
        Trouble(
            "drop after work always", {"kind": "work_then_drop", "times": None}, otherwise=UNKEPT
        ),
        Trouble("500 after work", {"kind": "work_then_status"}),
        Trouble(
            "500 after work always",
            {"kind": "work_then_status", "times": None},
            otherwise=UNKEPT,
        ),
        Trouble("answer comes later", {"kind": "user_item_then_drop", "after": 0.5}),
        Trouble(
            "answer comes too late",
            {"kind": "user_item_then_drop", "after": SHORT_SECONDS * 2},
            otherwise={(Way.JSON, Where.THREAD): "thread_busy|timeout"},
            timeout=SHORT_SECONDS,
        ),
        Trouble(
            "hang before work",
            {"kind": "hang", "seconds": SHORT_SECONDS * 2, "when": "before"},
            "timeout",
            {(Way.STREAM, Where.CHAIN): ANSWER, (Way.STREAM, Where.ALONE): ANSWER},
            timeout=SHORT_SECONDS,
        ),
        Trouble(
            "hang after work",
            {"kind": "hang", "seconds": SHORT_SECONDS * 2, "when": "after"},
            otherwise={(Way.JSON, Where.CHAIN): "timeout", (Way.JSON, Where.ALONE): "timeout"},
            timeout=SHORT_SECONDS,
        ),
    ]
    answers = [
        Trouble("200 failed", {"kind": "failed"}),
        Trouble("200 failed always", {"kind": "failed", "times": None}, "service_unavailable"),
        Trouble("200 incomplete", {"kind": "incomplete"}, "length"),
        Trouble("answer filtered", {}, "content_filter", message="/filter", recovers=False),
        Trouble(
            "no terminal event",
            {"kind": "no_terminal"},
            otherwise={(Way.STREAM, Where.ALONE): "stream_interrupted"},
        ),
    ]
    streams = [
        _broken_stream(kind, number)
        for kind in ("cut_stream", "malformed_event")
        for number in range(EVENTS)
    ]
    return [*quota, *refusals, *connections, *answers, *streams]
