"""The mailbox of a lane: one row with the work of each waiting job.

This box row alone decides whether a job may continue, and with which message. The job row, which
callers read, only reports it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .json_properties import document_values, read_document
from .keys import asked_key
from .table import Change, Operation, Row, Value

log = logging.getLogger(__name__)

_WORK = "work"
"""Name of the document in a box row."""

ORCHESTRATED = "orchestrated"
"""Member of a job's work: any configured model may answer, even if the work names none."""

NEW_THREAD = "new_thread"
"""Member of a job's work: the job started its thread."""

MORE = "more"
"""Member of a job's work: what its request has besides a message and options."""

CALLBACKS = ("callback_url", "reply_queue")
"""Properties of a waiting job: the destinations of its result."""

ENDED = "ended"
"""Property of a job that was cancelled while it waited: only its place in the lane is left."""

STOPS_LANE = "stop_lane_on_failure"
"""Property of a waiting job: if it fails, the later jobs of the lane are cancelled."""


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a job."""

    document: dict[str, Any]
    """The messages, their options and the caller."""
    at_end: Mapping[str, Value] = field(default_factory=dict[str, Value])
    """Properties for the end of the job, readable even if the document is not."""

    def to_values(self) -> dict[str, Value]:
        """The properties that store it.

        Raises:
            DocumentTooLargeError: if it does not fit into a row.
        """
        return {**document_values(self.document, _WORK), **self.at_end}


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """The first waiting job of a lane, with its work."""

    job_id: str
    box: Row
    work: dict[str, Any]

    @property
    def messages_done(self) -> int:
        """How many of its messages are answered."""
        return int(self.box.values["messages_done"])

    @property
    def attempts(self) -> int:
        """How often its next message has failed."""
        return int(self.box.values.get("attempts", 0))

    @property
    def attempts_in_all(self) -> int:
        """How often one of its messages has failed."""
        return int(self.box.values.get("attempts_in_all", 0))

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The latest attempts that failed, oldest first."""
        return json.loads(self.box.values.get("failures", "[]"))

    @property
    def unfinished(self) -> int:
        """How many attempts at the next message have no end yet: one runs now, or a worker died."""
        return int(self.box.values.get("unfinished", 0))

    @property
    def callbacks(self) -> dict[str, str]:
        """The destinations of its result."""
        return {name: self.box.values[name] for name in CALLBACKS if name in self.box.values}

    @property
    def stops_lane(self) -> bool:
        """Whether the later jobs of the lane are cancelled if it fails."""
        return bool(self.box.values.get(STOPS_LANE))

    def asked(self, now: datetime) -> Change:
        """The change that keeps what was submitted, for callers who look at the ended job."""
        names = (*CALLBACKS, STOPS_LANE)
        kept: dict[str, Value | None] = {
            name: value
            for name, value in self.box.values.items()
            if name in names or name.startswith(f"{_WORK}_")
        }
        return Change(Operation.UPSERT, asked_key(self.job_id), {"created_at": now, **kept})

    @property
    def not_before(self) -> datetime | None:
        """The earliest time to run it."""
        return self.box.values.get("not_before")

    @property
    def expires_at(self) -> datetime | None:
        """When it expires, unless it has started."""
        return self.box.values.get("expires_at")

    @property
    def begun(self) -> bool:
        """Whether a worker has started it, even one that died."""
        return bool(self.box.values.get("begun"))

    @property
    def has_ended(self) -> bool:
        """Whether the job row already says that it has ended."""
        return bool(self.box.values.get(ENDED))

    @property
    def cancelled(self) -> bool:
        """Whether it must not continue."""
        return bool(self.box.values.get("cancelled"))


def read_work(box: Row) -> dict[str, Any]:
    """The work in a box row; empty if it cannot be read, so that the job can be ended."""
    try:
        return read_document(box.values, _WORK) or {}
    except ValueError:
        log.exception("The work in %s cannot be read", box.row_key)
        return {}
