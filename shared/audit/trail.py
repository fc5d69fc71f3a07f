"""The audit trail: one record for each action, written once and never changed.

A record says who did what to what, through which agent, and how it ended; it holds no message
text and no secret. Records of one owner and day share a partition and are kept newest first.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self, TypeVar

from ulid import ULID

from ..state.days import MAX_TRANSACTION_ROWS, DayIndex, day_partition
from ..state.errors import StateError
from ..state.keys import complement, partition_key
from ..state.table import Change, Operation, Row, Table, Value
from ..state.turns import TurnRecord, TurnStatus

log = logging.getLogger(__name__)

MAX_PENDING_NOTES = 1_000
"""Records that are being written behind their answers; beyond, they go to the log only."""

STRANGERS_PER_MINUTE = 60
"""Refused calls of unknown callers that one process puts on record; the log has them all."""

_T = TypeVar("_T")


class Action(StrEnum):
    """What somebody did, or tried to."""

    SEND = "send"
    TOOL_CALL = "tool_call"
    THREAD_CREATE = "thread_create"
    THREAD_READ = "thread_read"
    THREAD_CHANGE = "thread_change"
    THREAD_DELETE = "thread_delete"
    JOB_SUBMIT = "job_submit"
    JOB_READ = "job_read"
    JOB_CANCEL = "job_cancel"
    FIGURES_READ = "figures_read"
    AUDIT_READ = "audit_read"
    DATA_ERASE = "data_erase"
    """An owner's erasure was asked for."""
    DATA_ERASED = "data_erased"
    """It is done: the receipt."""


class AuditOutcome(StrEnum):
    """How an action ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """It was begun and came to nothing, by a fault of ours or of Foundry's."""
    REFUSED = "refused"
    """It was not begun: the caller may not, or cannot as asked."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked for something, and in which request."""

    subject: str
    actor: str
    how: str
    request_id: str | None = None
    departments: tuple[str, ...] = ()
    """That the caller's token names."""

    def to_json(self) -> dict[str, Any]:
        """For a job, which runs when its request is over; without what says nothing."""
        document = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in document.items() if value}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave."""
        known: dict[str, Any] = {**document, "departments": tuple(document.get("departments", ()))}
        return cls(**known)


THE_APP = Caller("app", "app", "app")
"""Nobody outside asked: the app does it of its own accord."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One action."""

    action: Action
    at: datetime
    owner: str
    subject: str
    actor: str
    how: str
    outcome: AuditOutcome
    code: str | None = None
    """What it failed or was refused with."""
    agent_id: str | None = None
    agent_identity: str | None = None
    """Client id of the Entra identity acted under towards Foundry."""
    model: str | None = None
    thread_id: str | None = None
    turn_id: str | None = None
    job_id: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    """Id of the request that asked, ours."""
    foundry_request_id: str | None = None
    tool: str | None = None
    arguments_hash: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    latency: float | None = None
    """Seconds."""
    erasure_id: str | None = None
    deleted: int | None = None
    """Rows that an erasure has deleted."""

    def to_json(self) -> dict[str, Any]:
        """The record without what is not known."""
        document = {field.name: getattr(self, field.name) for field in fields(self)}
        document["at"] = self.at.isoformat()
        return {name: value for name, value in document.items() if value is not None}

    def new_key(self) -> str:
        """A key for the record's row, which no other has."""
        return complement(str(ULID.from_datetime(self.at)))

    def to_values(self) -> dict[str, Value | None]:
        """The properties of the record's row."""
        values: dict[str, Value | None] = {
            field.name: getattr(self, field.name) for field in fields(self)
        }
        return values | {"action": self.action.value, "outcome": self.outcome.value}

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read a row that `to_values` gave."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in row.values.items() if name in known}
        values |= {"action": Action(values["action"]), "outcome": AuditOutcome(values["outcome"])}
        return cls(**values)


class AuditTrail:
    """Writes records, each with the Entra identity under which the app calls Foundry.

    A record that cannot be written is logged whole and stops nothing.
    """

    def __init__(self, table: Table, agent_identity: str | None) -> None:
        self._agent_identity = agent_identity
        self._table = table
        self._noted: set[asyncio.Task[None]] = set()
        self._days = DayIndex(table)
        self._strangers: deque[datetime] = deque(maxlen=STRANGERS_PER_MINUTE)

    async def append(self, *records: AuditRecord) -> None:
        """Write the records of one owner's action, in one transaction."""
        await self._write(self._keyed(records), Operation.INSERT)

    def _keyed(self, records: Iterable[AuditRecord]) -> dict[str, AuditRecord]:
        """Records by the keys of their rows, complete."""
        identity = self._agent_identity
        return {each.new_key(): replace(each, agent_identity=identity) for each in records}

    async def _write(self, records: Mapping[str, AuditRecord], action: Operation) -> None:
        first = next(iter(records.values()))
        owner_key, day = partition_key(first.owner), first.at.date()
        partition = day_partition(owner_key, day)
        changes = [Change(action, key, record.to_values()) for key, record in records.items()]
        starts = range(0, len(changes), MAX_TRANSACTION_ROWS)
        outcomes = await asyncio.gather(
            self._days.remember(owner_key, day),
            *(self._table.write(partition, changes[n : n + MAX_TRANSACTION_ROWS]) for n in starts),
            return_exceptions=True,
        )
        for error in outcomes:
            if isinstance(error, Exception):
                self._complain(repr(error), records.values())

    async def alongside(self, write: Awaitable[_T], *records: AuditRecord) -> _T:
        """Write the records while something else is written, and return what that gives.

        If it could not be written, the records say so.
        """
        keyed = self._keyed(records)
        recording = asyncio.create_task(self._write(keyed, Operation.INSERT))
        try:
            return await write
        except StateError as error:
            await recording
            failed = {
                key: replace(record, outcome=AuditOutcome.FAILED, code=error.code)
                for key, record in keyed.items()
            }
            await self._write(failed, Operation.UPSERT)
            raise
        finally:
            await recording

    def note(self, record: AuditRecord) -> None:
        """Write a record behind the back of whoever waits for an answer."""
        if len(self._noted) >= MAX_PENDING_NOTES:
            self._complain("too many at once", [record])
            return
        task = asyncio.create_task(self.append(record))
        self._noted.add(task)
        task.add_done_callback(self._noted.discard)

    def note_anonymous(self, record: AuditRecord) -> None:
        """As `note`, for a refused caller whom nobody knows; a flood of them is cut off."""
        seen = self._strangers
        if len(seen) == STRANGERS_PER_MINUTE and record.at - seen[0] < timedelta(minutes=1):
            return
        seen.append(record.at)
        self.note(record)

    async def aclose(self) -> None:
        """Write what is not written yet, then close all connections."""
        await asyncio.gather(*self._noted, return_exceptions=True)
        await self._table.aclose()

    @staticmethod
    def _complain(reason: str, records: Iterable[AuditRecord]) -> None:
        """Log what may be missing, so that it is not lost altogether."""
        for record in records:
            log.error("Not in the audit trail (%s): %s", reason, json.dumps(record.to_json()))


def turn_records(
    turn: TurnRecord, caller: Caller, tool_calls: Iterable[tuple[str, str | None]]
) -> list[AuditRecord]:
    """The records of a turn: the message sent, and each tool call with its argument hash."""
    common: dict[str, Any] = {
        "at": turn.created_at,
        "owner": turn.owner,
        "subject": caller.subject,
        "actor": caller.actor,
        "how": caller.how,
        "request_id": caller.request_id,
        "thread_id": turn.thread_id,
        "turn_id": turn.turn_id,
        "job_id": turn.job_id,
        "agent_id": turn.agent_id,
    }
    ended = AuditOutcome.SUCCEEDED if turn.status is TurnStatus.SUCCEEDED else AuditOutcome.FAILED
    sent = AuditRecord(
        action=Action.SEND,
        outcome=ended,
        code=turn.error_code,
        model=turn.model,
        response_id=turn.response_id,
        foundry_request_id=turn.request_id,
        input_tokens=turn.usage.get("input_tokens"),
        output_tokens=turn.usage.get("output_tokens"),
        total_tokens=turn.usage.get("total_tokens"),
        latency=turn.latency,
        **common,
    )
    calls = [
        AuditRecord(
            action=Action.TOOL_CALL, outcome=ended, tool=tool, arguments_hash=digest, **common
        )
        for tool, digest in tool_calls
    ]
    return [sent, *calls]
