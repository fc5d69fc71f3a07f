"""The mailbox of a lane: one row for each job that waits, with what it brings.

Whether a job may go on, and with which message, is decided by this row alone; its other row, which
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
from .table import Row, Value

log = logging.getLogger(__name__)

_WORK = "work"
"""Name of the document in a box row."""

CALLBACKS = ("callback_url", "reply_queue")
"""Properties of a waiting job: where its result is to be delivered."""

ENDED = "ended"
"""Property of a waiting job: it was cancelled before its turn, and only its place is left."""

STOPS_LANE = "stop_lane_on_failure"
"""Property of a waiting job: if it fails, those behind it are cancelled."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a job brings."""

    document: dict[str, Any]
    """What to send, how and for whom."""
    at_end: Mapping[str, Value] = field(default_factory=dict[str, Value])
    """What becomes of its end, by property: it counts even where the document cannot be read."""

    def to_values(self) -> dict[str, Value]:
        """The properties that keep it.

        Raises:
            DocumentTooLargeError: if it does not fit into a row.
        """
        return {**document_values(self.document, _WORK), **self.at_end}


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """The job at the head of a lane, with the work it brings."""

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
        """How often its next message was begun by a worker that did not live to see its end."""
        return int(self.box.values.get("unfinished", 0))

    @property
    def callbacks(self) -> dict[str, str]:
        """Where its result is to be delivered."""
        return {name: self.box.values[name] for name in CALLBACKS if name in self.box.values}

    @property
    def stops_lane(self) -> bool:
        """Whether the jobs behind it are cancelled if it fails."""
        return bool(self.box.values.get(STOPS_LANE))

    @property
    def not_before(self) -> datetime | None:
        """When it may run."""
        return self.box.values.get("not_before")

    @property
    def expires_at(self) -> datetime | None:
        """When it is of no use any more, if it has not begun."""
        return self.box.values.get("expires_at")

    @property
    def begun(self) -> bool:
        """Whether a worker has taken it up, even one that died."""
        return bool(self.box.values.get("begun"))

    @property
    def has_ended(self) -> bool:
        """Whether its end is written already."""
        return bool(self.box.values.get(ENDED))

    @property
    def cancelled(self) -> bool:
        """Whether it must not go on."""
        return bool(self.box.values.get("cancelled"))


def read_work(box: Row) -> dict[str, Any]:
    """What a box row brings; nothing if it cannot be read, so that the job can be ended."""
    try:
        return read_document(box.values, _WORK) or {}
    except ValueError:
        log.exception("The work in %s cannot be read", box.row_key)
        return {}
