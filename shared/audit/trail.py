"""The audit trail: one record for each action, written once and never changed.

A record has the caller, the action, its object, the agent and the outcome, but no message text and
no secret. The record of a turn or an accepted job is a row of the transaction that stores it. All
others are in a table of their own, whose partitions have the records of one owner and day. Both are
sorted by time, newest first.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from ulid import ULID

from ..state.client_keys import KeyTerms
from ..state.days import MAX_TRANSACTION_ROWS, DayIndex, day_partition
from ..state.errors import RowExistsError, StateError
from ..state.group_commit import GroupCommit
from ..state.keys import audit_key, complement, partition_key
from ..state.table import Change, Operation, Row, Table, Value
from ..state.turns import TurnRecord, TurnStatus

log = logging.getLogger(__name__)

MAX_PENDING_NOTES = 1_000
"""The most records that are written in the background at once; more go to the log only."""

ANONYMOUS_PER_MINUTE = 60
"""The most refused calls of anonymous callers that a process records; the log has all of them."""


class Action(StrEnum):
    """The action of a caller."""

    SEND = "send"
    TOOL_CALL = "tool_call"
    THREAD_CREATE = "thread_create"
    THREAD_READ = "thread_read"
    THREAD_CHANGE = "thread_change"
    THREAD_DELETE = "thread_delete"
    JOB_SUBMIT = "job_submit"
    JOB_READ = "job_read"
    JOB_CANCEL = "job_cancel"
    RESPONSE_READ = "response_read"
    RESPONSE_DELETE = "response_delete"
    USAGE_READ = "usage_read"
    AUDIT_READ = "audit_read"
    KEY_CREATE = "key_create"
    KEY_READ = "key_read"
    KEY_REVOKE = "key_revoke"
    MCP_REQUEST = "mcp_request"
    """A request to the MCP face that was refused before it named a tool."""
    DATA_ERASE = "data_erase"
    """An owner's erasure was requested."""
    DATA_ERASED = "data_erased"
    """The erasure is complete: its receipt."""


class AuditOutcome(StrEnum):
    """How an action ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The action started and failed, in the app or in Foundry."""
    REFUSED = "refused"
    """The action did not start, because it is forbidden or invalid."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request, and the request's id."""

    subject: str
    actor: str
    how: str
    request_id: str | None = None
    departments: tuple[str, ...] = ()
    """Departments in the caller's token, or of its client key."""
    terms: KeyTerms | None = None
    """What the caller's client key allows; None without one."""
    face: str | None = None
    """The family of addresses that was called: `api`, `openai` or `mcp`; `queue` for messages of
    the queue of jobs."""

    def to_json(self) -> dict[str, Any]:
        """The caller as JSON without empty values, stored with a job, which runs later."""
        document = {each.name: getattr(self, each.name) for each in fields(self)}
        document["terms"] = self.terms and self.terms.to_json()
        return {name: value for name, value in document.items() if value}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned."""
        known: dict[str, Any] = {**document, "departments": tuple(document.get("departments", ()))}
        if terms := document.get("terms"):
            known["terms"] = KeyTerms.from_json(terms)
        return cls(**known)


THE_APP = Caller("app", "app", "app")
"""The caller of actions that the app itself starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """The record of one action."""

    action: Action
    at: datetime
    owner: str
    subject: str
    actor: str
    how: str
    outcome: AuditOutcome
    face: str | None = None
    """The family of addresses that was called."""
    code: str | None = None
    """The error code, if it failed or was refused."""
    agent_id: str | None = None
    agent_identity: str | None = None
    """Client id of the Entra identity under which Foundry was called."""
    model: str | None = None
    thread_id: str | None = None
    turn_id: str | None = None
    job_id: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    """The app's id of the request."""
    foundry_request_id: str | None = None
    tool: str | None = None
    arguments_hash: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    latency: float | None = None
    """Seconds."""
    key_id: str | None = None
    """The client key that was created, read or revoked."""
    erasure_id: str | None = None
    deleted: int | None = None
    """Rows that an erasure has deleted."""

    def to_json(self) -> dict[str, Any]:
        """The record as JSON, without unknown values."""
        document = {field.name: getattr(self, field.name) for field in fields(self)}
        document["at"] = self.at.isoformat()
        return {name: value for name, value in document.items() if value is not None}

    def new_key(self) -> str:
        """A unique key for the record's row."""
        return complement(str(ULID.from_datetime(self.at)))

    def to_values(self) -> dict[str, Value | None]:
        """The properties of the record's row."""
        values: dict[str, Value | None] = {
            field.name: getattr(self, field.name) for field in fields(self)
        }
        return values | {"action": self.action.value, "outcome": self.outcome.value}

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read a row with the properties of `to_values`."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in row.values.items() if name in known}
        values |= {"action": Action(values["action"]), "outcome": AuditOutcome(values["outcome"])}
        return cls(**values)


class AuditTrail:
    """Writes records, each with the Entra identity with which the app calls Foundry.

    A record that cannot be written is logged in full, and the action continues.
    """

    def __init__(self, table: Table, state: Table, agent_identity: str | None) -> None:
        self._agent_identity = agent_identity
        self._table = table
        self._state = state
        self._rows = GroupCommit(table)
        self._tasks: set[asyncio.Task[None]] = set()
        self._days = DayIndex(table)
        self._anonymous: deque[datetime] = deque(maxlen=ANONYMOUS_PER_MINUTE)

    async def open_day(self, owner: str, at: datetime) -> None:
        """List an owner among those with records of a day, before a transaction has some.

        Only a reader of all owners uses the list, so a failure is logged and the action continues.
        """
        try:
            await self._days.remember(partition_key(owner), at.date())
        except StateError as error:
            log.error("Not in the index of the audit trail (%r): %s", error, owner)  # noqa: TRY400

    def keyed(self, records: Iterable[AuditRecord]) -> dict[str, AuditRecord]:
        """The records of one owner's action, with the agent's identity, by the keys of rows."""
        identity = self._agent_identity
        if identity is not None:
            records = [replace(each, agent_identity=identity) for each in records]
        return {each.new_key(): each for each in records}

    @staticmethod
    def inserts(records: Mapping[str, AuditRecord]) -> list[Change]:
        """The changes that write records, for a transaction in their owner's partition."""
        return [
            Change(Operation.INSERT, audit_key(record.at.date(), key), record.to_values())
            for key, record in records.items()
        ]

    async def insert(self, records: Mapping[str, AuditRecord]) -> None:
        """Write records of a transaction that are not part of it, beside its other rows.

        A record that exists is kept: its transaction was stored, although its answer was lost.
        """
        changes, partition = self.inserts(records), _partition_of(records)
        try:
            for start in range(0, len(changes), MAX_TRANSACTION_ROWS):
                await self._state.write(partition, changes[start : start + MAX_TRANSACTION_ROWS])
        except RowExistsError:
            log.info("A transaction that seemed to have failed was stored")
        except StateError as error:
            self._log_lost(repr(error), records.values())

    async def insert_failed(self, records: Mapping[str, AuditRecord], code: str) -> None:
        """Write the records of a transaction that failed, which can then no longer be stored."""
        failed = AuditOutcome.FAILED
        await self.insert(
            {key: replace(each, outcome=failed, code=code) for key, each in records.items()}
        )

    async def append(self, *records: AuditRecord) -> None:
        """Write the records of one owner's action to the audit table."""
        keyed, day = self.keyed(records), records[0].at.date()
        owner_key = _partition_of(keyed)
        changes = [Change(Operation.INSERT, key, each.to_values()) for key, each in keyed.items()]
        try:
            await self._days.remember(owner_key, day)
            await self._rows.write(day_partition(owner_key, day), changes)
        except StateError as error:
            self._log_lost(repr(error), keyed.values())

    def note(self, record: AuditRecord) -> None:
        """Write a record in the background."""
        if len(self._tasks) >= MAX_PENDING_NOTES:
            self._log_lost("too many at once", [record])
            return
        task = asyncio.create_task(self.append(record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def note_anonymous(self, record: AuditRecord) -> None:
        """Record a refused anonymous call, up to `ANONYMOUS_PER_MINUTE` a minute."""
        seen = self._anonymous
        if len(seen) == ANONYMOUS_PER_MINUTE and record.at - seen[0] < timedelta(minutes=1):
            return
        seen.append(record.at)
        self.note(record)

    async def aclose(self) -> None:
        """Finish pending writes, then close all connections."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._table.aclose()

    @staticmethod
    def _log_lost(reason: str, records: Iterable[AuditRecord]) -> None:
        """Log records that may be missing from the trail."""
        for record in records:
            log.error("Not in the audit trail (%s): %s", reason, json.dumps(record.to_json()))


def _partition_of(records: Mapping[str, AuditRecord]) -> str:
    """The partition of the owner of some records."""
    return partition_key(next(iter(records.values())).owner)


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
        "face": caller.face,
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
