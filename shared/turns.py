"""The use case of this product: one user message in, one answer out, recorded.

    lease -> send -> commit

A synchronous call and a job come through here alike. On a thread, the lease makes the turn the
only one, and the commit writes the thread, the turn and whatever the caller adds in one
transaction, or nothing if the lease was lost. Without a thread there is nothing to guard and the
turn's own row is the one write.

A caller who goes away does not undo a turn: it runs in a task of its own until it is committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from typing import Any, TypeVar

from .foundry.errors import FoundryError
from .foundry.models import Backing, TurnRequest, TurnResult
from .foundry.service import FoundryService
from .state.errors import RowMissingError
from .state.keys import Kind, is_id, new_id, newest_first, partition_key
from .state.lanes import Clock, Lanes, Lease, has_waiting
from .state.table import Change, Table, Value
from .state.threads import Thread
from .state.turns import Inlet, TurnRecord, TurnStatus

log = logging.getLogger(__name__)

LEASE_MARGIN_SECONDS = 15.0
"""A lease outlives the turn's deadline by this much, so that the commit still finds it."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TurnCommand:
    """A turn to run: for whom, what, where, and how long it may take."""

    owner: str
    request: TurnRequest
    seconds: float
    thread_id: str | None = None
    inlet: Inlet = Inlet.SYNC
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that was answered."""

    turn_id: str
    thread_id: str | None
    result: TurnResult


Outcome = TurnResult | FoundryError

AlsoCommit = Callable[[Outcome], Sequence[Change]]
"""What else to write together with a turn, given how it ended."""

WakeLane = Callable[[str, str], Awaitable[None]]
"""Tell the workers that the lane of an owner has work: ``await wake(owner, lane)``."""


def _nothing_else(_: Outcome) -> Sequence[Change]:
    return ()


class Turns:
    """Runs turns."""

    def __init__(
        self,
        foundry: FoundryService,
        table: Table,
        lanes: Lanes,
        *,
        clock: Clock,
        wake_lane: WakeLane,
        record_content: bool,
    ) -> None:
        self._foundry = foundry
        self._table = table
        self._lanes = lanes
        self._clock = clock
        self._wake_lane = wake_lane
        self._record_content = record_content
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, command: TurnCommand) -> Turn:
        """Run one turn to its end, even if the caller is cancelled meanwhile.

        Raises:
            FoundryError: if Foundry gave no answer; the failed turn is recorded.
            LaneBusyError: if another turn runs on the thread.
            RowMissingError: if the owner has no such thread.
            StorageUnavailableError: if the turn could not be recorded.
        """
        return await self._to_its_end(self._run(command))

    async def _run(self, command: TurnCommand) -> Turn:
        turn_id = new_id(Kind.TURN)
        if command.thread_id is None:
            return await self._run_alone(turn_id, command)
        lease = await self.lease_thread(command, turn_id)
        return await self.run_leased(turn_id, command, lease)

    async def lease_thread(self, command: TurnCommand, turn_id: str) -> Lease:
        """Become the only one to run a turn on the command's thread."""
        if command.thread_id is None or not is_id(Kind.THREAD, command.thread_id):
            raise RowMissingError(f"{command.thread_id!r} is not the id of a thread.")
        return await self._lanes.take(
            command.owner, newest_first(command.thread_id), turn_id, lease_seconds(command)
        )

    async def _run_alone(self, turn_id: str, command: TurnCommand) -> Turn:
        outcome, record = await self._send(turn_id, command, None)
        await self._table.write(partition_key(command.owner), [record.insert()])
        return _answered(turn_id, command, outcome)

    async def run_leased(
        self,
        turn_id: str,
        command: TurnCommand,
        lease: Lease,
        also_commit: AlsoCommit = _nothing_else,
    ) -> Turn:
        """Run a turn on a leased lane and end the lease with its commit."""
        thread = None
        if command.thread_id is not None:
            thread = Thread.from_row(command.owner, lease.row)
        outcome, record = await self._send(turn_id, command, thread)
        values = _thread_values(thread, outcome, self._clock()) if thread else {}
        changes = [record.insert(), *also_commit(outcome)]
        row = await self._lanes.release(lease, {**values, "last_turn_id": turn_id}, changes)
        if command.thread_id is not None and has_waiting(row):
            await self._wake_lane(command.owner, command.thread_id)
        return _answered(turn_id, command, outcome)

    async def _send(
        self, turn_id: str, command: TurnCommand, thread: Thread | None
    ) -> tuple[Outcome, TurnRecord]:
        created_at, started = self._clock(), perf_counter()
        outcome: Outcome
        try:
            backing = await self._backing(thread) if thread else None
            outcome = await self._foundry.respond(command.request, backing, seconds=command.seconds)
        except FoundryError as error:
            log.warning("Turn %s failed: %s (%s)", turn_id, error.code, error.request_id)
            outcome = error
        record = self._record(turn_id, command, outcome, created_at)
        return outcome, replace(record, latency=perf_counter() - started)

    async def _backing(self, thread: Thread) -> Backing:
        """Where Foundry keeps the thread; a thread that a job brought has nothing there yet."""
        if thread.conversation_id or thread.last_response_id:
            return Backing(thread.conversation_id, thread.last_response_id)
        return await self._foundry.create_thread(dict(thread.metadata))

    def _record(
        self, turn_id: str, command: TurnCommand, outcome: Outcome, created_at: datetime
    ) -> TurnRecord:
        request, config = command.request, self._foundry.config
        record = TurnRecord(
            turn_id=turn_id,
            owner=command.owner,
            thread_id=command.thread_id,
            job_id=command.job_id,
            inlet=command.inlet,
            status=TurnStatus.FAILED,
            created_at=created_at,
            latency=0.0,
            domain=request.domain,
            model=request.model or config.model,
            agent_id=config.agent_id or None,
            question=request.message if self._record_content else None,
            metadata=request.metadata,
            request_id=outcome.request_id,
        )
        if isinstance(outcome, FoundryError):
            return replace(record, error_code=outcome.code, error=outcome.message)
        return replace(
            record,
            status=TurnStatus.SUCCEEDED,
            model=outcome.model or record.model,
            agent_id=outcome.agent_id,
            answer=outcome.content if self._record_content else None,
            finish_reason=outcome.finish_reason.value,
            tools_used=outcome.tools_used,
            usage=outcome.usage,
            response_id=outcome.response_id,
        )

    async def _to_its_end(self, turn: Coroutine[Any, Any, _T]) -> _T:
        task = asyncio.create_task(turn)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.debug("A turn ended with %r", error)

    async def aclose(self) -> None:
        """Wait for the turns that still run."""
        await asyncio.gather(*self._running, return_exceptions=True)


def lease_seconds(command: TurnCommand) -> float:
    """How long the lease for a turn lasts."""
    return command.seconds + LEASE_MARGIN_SECONDS


def _thread_values(thread: Thread, outcome: Outcome, now: datetime) -> dict[str, Value]:
    values: dict[str, Value] = {"last_accessed": now}
    if isinstance(outcome, FoundryError):
        return values
    values["message_count"] = thread.message_count + 1
    values["total_tokens"] = thread.total_tokens + outcome.usage.get("total_tokens", 0)
    values["last_response_id"] = outcome.response_id
    if outcome.conversation_id:
        values["conversation_id"] = outcome.conversation_id
    if outcome.last_item_id:
        values["last_item_id"] = outcome.last_item_id
    return values


def _answered(turn_id: str, command: TurnCommand, outcome: Outcome) -> Turn:
    if isinstance(outcome, FoundryError):
        raise outcome
    return Turn(turn_id, command.thread_id, outcome)
