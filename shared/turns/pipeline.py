"""The use case of this product: one user message in, one answer out, recorded.

    budget -> lease -> look back -> send -> commit

A synchronous call, a stream and a job come through here alike. On a thread, the lease makes the
turn the only one; where an attempt before may have left something in Foundry, that is looked for
before anything is sent; and the commit writes the thread, the turn and whatever the caller adds in
one transaction, or nothing if the lease was lost. Without a thread there is nothing to guard and
the turn's own row is the one write.

A caller who goes away does not undo a turn: it runs in a task of its own until it is committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from time import perf_counter

from ..audit.trail import THE_APP, Caller
from ..foundry.errors import FoundryError
from ..foundry.events import TurnEvent
from ..foundry.exchange import may_send
from ..foundry.models import ThreadRef, TurnRequest, TurnResult
from ..foundry.service import FoundryService
from ..metering.budgets.budgets import Reservation
from ..observability.logs import log_ids
from ..observability.tracing import record_content, record_turn, turn_span
from ..problems import INTERNAL_ERROR
from ..state.errors import LaneBusyError, RowMissingError, StateError
from ..state.idempotency import Claim
from ..state.keeper import LeaseKeeper
from ..state.keys import Kind, is_id, new_id, newest_first, partition_key
from ..state.lanes import Clock, Lanes, Lease, WakeLane, wake_waiting
from ..state.table import Change, Row, Table, Value
from ..state.threads import LAST_TURN_TOKENS, Thread, end_of_conversation
from ..state.turns import FirstTry, TurnMode, TurnRecord, TurnStatus, responses_since
from .background import Background, StillRunning
from .recording import Outcome, Recording

log = logging.getLogger(__name__)

FIRST_LOOK_SECONDS = 0.25
MAX_LOOK_SECONDS = 1.0
"""How often somebody who waits for a thread looks whether it is free; each look is a read."""


@dataclass(frozen=True, slots=True)
class TurnCommand:
    """A turn to run: for whom, what, where, and how long it may take."""

    owner: str
    request: TurnRequest
    seconds: float
    thread_id: str | None = None
    wait: float = 0.0
    """Seconds to wait for a thread that is in use."""
    mode: TurnMode = TurnMode.SYNC
    job_id: str | None = None
    caller: Caller = THE_APP
    claim: Claim | None = None
    """The idempotency key of the request, held while the turn runs; it names the turn."""
    first_try: FirstTry | None = None
    """The message may have been sent before, at an attempt whose process died or gave up."""
    taken_up: float = field(default_factory=perf_counter)
    """When work on the turn began, by this machine's performance counter."""
    hold: Reservation = field(default_factory=Reservation)
    """What budgets have reserved for it, held while the turn runs."""


@dataclass(frozen=True, slots=True)
class AnsweredTurn:
    """A turn that was answered."""

    turn_id: str
    thread_id: str | None
    result: TurnResult
    warnings: tuple[str, ...] = ()
    """Of budgets that are nearly used up."""


@dataclass(frozen=True, slots=True)
class TurnOpened:
    """The turn has its place and will be sent now."""

    turn_id: str
    thread_id: str | None
    warnings: tuple[str, ...] = ()
    """As those of the `AnsweredTurn`."""


Progress = TurnOpened | TurnEvent | StillRunning | AnsweredTurn
"""What a streamed turn tells; a `AnsweredTurn` comes last."""

Tell = Callable[[TurnOpened | TurnEvent], None]

AlsoCommit = Callable[[Outcome, Row], Sequence[Change]]
"""What else to write together with a turn, given how it ended and its lane's row by then."""

Keep = Callable[[Outcome], Sequence[Change]]
"""What keeps the answer to a request, to be written together with its turn."""


def _no_answer(_: Outcome) -> Sequence[Change]:
    return ()


def _nothing_else(_: Outcome, __: Row) -> Sequence[Change]:
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
        recording: Recording,
    ) -> None:
        self._foundry = foundry
        self._table = table
        self._lanes = lanes
        self._clock = clock
        self._wake_lane = wake_lane
        self._recording = recording
        self._background = Background()

    @property
    def record_content(self) -> bool:
        """Whether rows hold the text of questions, answers and errors."""
        return self._recording.content

    async def run(self, command: TurnCommand, keep: Keep = _no_answer) -> AnsweredTurn:
        """Run one turn to its end, even if the caller is cancelled meanwhile.

        Raises:
            FoundryError: if Foundry gave no answer; the failed turn is recorded.
            LaneBusyError: if another turn runs on the thread, and goes on for longer than to wait.
            KeyInUseError: if somebody else has taken over the idempotency key.
            RowMissingError: if the owner has no such thread.
            BudgetTooSmallError: if it may need more than a whole budget.
            BudgetExhaustedError: if a budget does not allow it now; nothing was sent.
            StorageUnavailableError: if the turn could not be recorded.
        """
        return await self._background.run(self._run(command, keep, tell=None))

    def stream(self, command: TurnCommand, keep: Keep = _no_answer) -> AsyncGenerator[Progress]:
        """As `run`, but tell what happens while it happens.

        The `AnsweredTurn` comes when it is committed. A caller who stops reading does not stop it.
        """
        return self._background.stream(partial(self._run, command, keep))

    async def _run(self, command: TurnCommand, keep: Keep, tell: Tell | None) -> AnsweredTurn:
        async with command.claim or nullcontext():
            return await self._run_claimed(command, keep, tell)

    async def _run_claimed(
        self, command: TurnCommand, keep: Keep, tell: Tell | None
    ) -> AnsweredTurn:
        claim = command.claim
        turn_id = claim.id(Kind.TURN) if claim else new_id(Kind.TURN)
        if command.thread_id is None:
            command = await self.admitted(command, None)
            async with command.hold as hold:
                opened = TurnOpened(turn_id, None, hold.warnings)
                return await self._run_alone(opened, command, keep, tell)
        if not is_id(Kind.THREAD, command.thread_id):
            raise RowMissingError(f"{command.thread_id!r} is not the id of a thread.")
        row_key = newest_first(command.thread_id)
        command = await self.admitted(command, await self._lanes.read(command.owner, row_key))
        command = replace(command, first_try=claim.first_try if claim else None)

        async def mark_tried(lane_row: Row) -> Sequence[Change]:
            return [await claim.begin(end_of_conversation(lane_row))] if claim else ()

        async def take() -> Lease:
            return await self._lanes.take(command.owner, row_key, turn_id, mark_tried)

        async with command.hold:
            lease = await _when_free(take, command.wait)
            return await self.run_leased(command, lease, lambda outcome, _: keep(outcome), tell)

    async def admitted(self, command: TurnCommand, lane_row: Row | None) -> TurnCommand:
        """The command with what it may need reserved; its `hold` is to be ended in any case.

        Raises:
            BudgetTooSmallError, BudgetExhaustedError: if a budget does not allow it.
        """
        hold = await self._recording.admission.reserve(
            command.owner, command.request, lane_row, command.caller
        )
        return replace(command, hold=hold)

    async def _run_alone(
        self,
        opened: TurnOpened,
        command: TurnCommand,
        keep: Keep,
        tell: Tell | None,
    ) -> AnsweredTurn:
        if tell:
            tell(opened)
        outcome, record = await self._send(opened, command, None, tell)
        changes = [record.insert(), *keep(outcome)]
        write = self._table.write(partition_key(command.owner), changes)
        await self._recording.alongside(write, record, outcome, command.caller)
        return _answered(opened, outcome)

    async def run_leased(
        self,
        command: TurnCommand,
        lease: Lease,
        also_commit: AlsoCommit = _nothing_else,
        tell: Tell | None = None,
    ) -> AnsweredTurn:
        """Run the turn that a lease was taken for, and end the lease with its commit."""
        opened = TurnOpened(lease.holder, command.thread_id, command.hold.warnings)
        if tell:
            tell(opened)
        async with LeaseKeeper(self._lanes, lease) as keeper:
            outcome, record = await self._send(opened, command, keeper, tell)
        values: dict[str, Value] = {"last_turn_id": opened.turn_id}
        if command.thread_id is not None:
            values |= _thread_values(keeper.lease, outcome, self._clock())

        def changes(lane_row: Row) -> Sequence[Change]:
            return [record.insert(), *also_commit(outcome, lane_row)]

        commit = self._lanes.release(keeper.lease, values, changes)
        row = await self._recording.alongside(commit, record, outcome, command.caller)
        if command.mode is not TurnMode.JOB:
            await wake_waiting(self._wake_lane, command.owner, row)
        return _answered(opened, outcome)

    async def _send(
        self,
        opened: TurnOpened,
        command: TurnCommand,
        keeper: LeaseKeeper | None,
        tell: Tell | None,
    ) -> tuple[Outcome, TurnRecord]:
        """As `_answer`, with a span of its own and the turn's id in what is logged."""
        config, request = self._foundry.config, command.request
        with turn_span(config.agent_id) as span, log_ids(turn_id=opened.turn_id):
            outcome, record = await self._answer(opened, command, keeper, tell)
            record_turn(span, record, request.model or config.model)
            if config.log_content:
                answer = None if isinstance(outcome, FoundryError) else outcome.content
                record_content(span, request.message, answer)
        return outcome, record

    async def _answer(
        self,
        opened: TurnOpened,
        command: TurnCommand,
        keeper: LeaseKeeper | None,
        tell: Tell | None,
    ) -> tuple[Outcome, TurnRecord]:
        begun = self._begun(opened, command, keeper)
        with self._recording.watching(command.owner, command.taken_up, command.hold) as watch:
            outcome = await self._outcome(opened, command, keeper, tell)
        return outcome, self._recording.ended(begun, outcome, watch)

    async def _outcome(
        self,
        opened: TurnOpened,
        command: TurnCommand,
        keeper: LeaseKeeper | None,
        tell: Tell | None,
    ) -> Outcome:
        try:
            backing = await self._backing(command, keeper) if keeper else None
            return await self._ask(command, backing, keeper, tell)
        except FoundryError as error:
            log.warning("Turn %s failed: %s (%s)", opened.turn_id, error.code, error.request_id)
            return error
        except StateError:  # nothing can be recorded; whoever leases the lane next looks after it
            raise
        except Exception:  # the border of a turn: it must be recorded and its lease ended
            log.exception("Turn %s failed for a reason nobody foresaw", opened.turn_id)
            return FoundryError(INTERNAL_ERROR.detail, code=INTERNAL_ERROR.code)

    async def _ask(
        self,
        command: TurnCommand,
        backing: ThreadRef | None,
        keeper: LeaseKeeper | None,
        tell: Tell | None,
    ) -> TurnResult:
        """Have the message answered; nothing is sent once the lease may have been taken over."""
        request, seconds = command.request, command.seconds
        may = keeper.ensure_held if keeper else may_send
        return await self._foundry.respond(
            request, backing, seconds=seconds, emit=tell, before_send=may
        )

    async def _backing(self, command: TurnCommand, keeper: LeaseKeeper) -> ThreadRef | None:
        """Where Foundry keeps the thread; a thread that a job brought has nothing there yet."""
        if command.thread_id is None:
            return None
        lease = keeper.lease
        thread = Thread.from_row(command.owner, lease.row)
        if thread.conversation_id is None and thread.last_response_id is None:
            made = await self._foundry.create_thread(dict(thread.metadata))
            if made.conversation_id:
                await keeper.note({"conversation_id": made.conversation_id})
            return made
        backing = ThreadRef(
            conversation_id=thread.conversation_id,
            last_response_id=thread.last_response_id,
            last_item_id=thread.last_item_id,
            look_first=lease.taken_over or thread.unsettled,
        )
        if command.first_try is None:
            return backing
        return await self._looking_back(command.first_try, thread, backing)

    async def _looking_back(
        self, first_try: FirstTry, thread: Thread, backing: ThreadRef
    ) -> ThreadRef:
        """Where a message that may have been sent must be looked for before it is sent again."""
        others: frozenset[str] = frozenset()
        if first_try.sent_after != (thread.last_item_id or ""):  # others have had turns since
            others = await responses_since(
                self._table, thread.owner, thread.thread_id, first_try.at
            )
        return replace(
            backing,
            last_item_id=first_try.sent_after or None,
            look_first=True,
            sent_before=True,
            others=others,
        )

    def _begun(
        self, opened: TurnOpened, command: TurnCommand, keeper: LeaseKeeper | None
    ) -> TurnRecord:
        request, config = command.request, self._foundry.config
        on_thread = keeper.lease.row if keeper and command.thread_id else None
        return TurnRecord(
            turn_id=opened.turn_id,
            owner=command.owner,
            thread_id=command.thread_id,
            job_id=command.job_id,
            mode=command.mode,
            status=TurnStatus.FAILED,
            created_at=self._clock(),
            latency=0.0,
            domain=request.domain,
            model=request.model or config.model,
            agent_id=config.agent_id or None,
            question=request.message,
            metadata=request.metadata,
            attribution=self._recording.admission.attribution(
                command.owner, request.metadata, on_thread, command.caller
            ),
        )

    async def aclose(self) -> None:
        """Wait for the turns that still run."""
        await self._background.aclose()


def _thread_values(lease: Lease, outcome: Outcome, now: datetime) -> dict[str, Value]:
    """How a turn changes its thread; after a failure, Foundry may hold what we do not know of."""
    thread = Thread.from_row(lease.owner, lease.row)
    if isinstance(outcome, FoundryError):
        return {"last_accessed": now, "unsettled": True}
    values: dict[str, Value] = {
        "last_accessed": now,
        "message_count": thread.message_count + 1,
        "total_tokens": thread.total_tokens + outcome.usage.get("total_tokens", 0),
        "last_response_id": outcome.response_id,
        LAST_TURN_TOKENS: outcome.usage.get("total_tokens", 0),
    }
    if outcome.last_item_id is None:  # an answer found further back; what is behind it stays open
        return {**values, "unsettled": thread.unsettled or lease.taken_over}
    return {**values, "unsettled": False, "last_item_id": outcome.last_item_id}


async def _when_free(take: Callable[[], Awaitable[Lease]], seconds: float) -> Lease:
    """Take a lease, as soon as its holder gives it up within some seconds."""
    clock = asyncio.get_running_loop().time
    end, pause = clock() + seconds, FIRST_LOOK_SECONDS
    while True:
        try:
            return await take()
        except LaneBusyError:
            if clock() >= end:
                raise
        await asyncio.sleep(min(pause, max(end - clock(), 0.0)))
        pause = min(pause * 2, MAX_LOOK_SECONDS)


def _answered(opened: TurnOpened, outcome: Outcome) -> AnsweredTurn:
    if isinstance(outcome, FoundryError):
        raise outcome
    return AnsweredTurn(opened.turn_id, opened.thread_id, outcome, opened.warnings)
