"""Runs a turn: one user message, its answer, and their record.

    admit -> lease -> answer -> commit

Synchronous calls, streams and jobs all run through this pipeline, for every model. On a thread, the
lease excludes other turns. If an earlier attempt may have sent the message, Foundry is searched for
it before anything is sent. The commit writes the thread, the turn and the caller's changes in one
transaction, or nothing if the lease was lost. A turn without a thread needs no lease and writes one
row.

A turn runs in its own task until it is committed, even if its caller disconnects.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from ..foundry.errors import FoundryError, ModelNotFoundError, NotFoundError
from ..foundry.events import TurnEvent
from ..foundry.exchange import BeforeSend, may_send
from ..foundry.models import TurnResult
from ..foundry.retry import Deadline
from ..metering.budgets.budgets import Reservation
from ..observability.logs import log_ids
from ..observability.tracing import record_content, record_turn, turn_span
from ..problems import INTERNAL_ERROR
from ..state.conversation_ids import ConversationIds
from ..state.errors import LeaseLostError, RowMissingError, StateError
from ..state.group_commit import GroupCommit
from ..state.keeper import LeaseKeeper
from ..state.keys import Kind, is_id, new_id, newest_first, partition_key
from ..state.lanes import UNSETTLED, Clock, Lanes, Lease, WakeLane, wake_waiting, when_free
from ..state.table import Change, Row, Table, Value
from ..state.threads import end_of_conversation
from ..state.turns import TurnMode, TurnRecord, TurnStatus
from .answerer import Answerer, FoundryAnswerer
from .background import Background
from .command import (
    AlsoCommit,
    AnsweredTurn,
    EmitProgress,
    Keep,
    Outcome,
    Progress,
    RunningTurn,
    TurnCommand,
    TurnOpened,
    keep_nothing,
)
from .open_calls import settled
from .recording import ModelOutcome, Recording
from .stored_conversation import StoredConversation

log = logging.getLogger(__name__)


def watch_nothing(_: TurnOpened | TurnEvent) -> None:
    """Watch no event."""


def _nothing_else(_: Outcome, __: Row) -> Sequence[Change]:
    return ()


@dataclass(frozen=True, slots=True)
class TurnStorage:
    """The storage of turns, with the clock and the lanes that they share."""

    table: Table
    lanes: Lanes
    clock: Clock
    wake_lane: WakeLane
    conversation_ids: ConversationIds
    keep_history: bool = True
    """Whether to store each message pair of a thread, so that another model can continue it."""


class Turns:
    """Runs turns."""

    def __init__(
        self,
        foundry: FoundryAnswerer | None,
        router: Answerer,
        storage: TurnStorage,
        recording: Recording,
    ) -> None:
        """Create the pipeline.

        Args:
            foundry: Answers turns that are not orchestrated; None if all are orchestrated.
            router: Answers orchestrated turns.
            storage: Where turns are stored.
            recording: Admits turns and records them.
        """
        self._foundry = foundry
        self._router = router
        self._storage = storage
        self._recording = recording
        self._commits = GroupCommit(storage.table)
        self._background = Background()

    @property
    def record_content(self) -> bool:
        """Whether rows hold the text of questions, answers and errors."""
        return self._recording.content

    async def run(self, command: TurnCommand, keep: Keep = keep_nothing) -> AnsweredTurn:
        """Run one turn to its end, even if the caller is cancelled.

        Raises:
            FoundryError: if no model answered; the failed turn is recorded.
            LaneBusyError: if another turn still runs on the thread after `command.wait` seconds.
            KeyInUseError: if another process has taken over the idempotency key.
            RowMissingError: if the owner has no such thread.
            BudgetTooSmallError: if it may need more than a whole budget.
            BudgetExhaustedError: if a budget does not allow it now; nothing was sent.
            StorageUnavailableError: if the turn could not be recorded.
        """
        return await self._background.run(self._run(command, keep, emit=None))

    def stream(
        self, command: TurnCommand, keep: Keep = keep_nothing, watch: EmitProgress = watch_nothing
    ) -> AsyncGenerator[Progress]:
        """Run one turn as `run` does, and yield its events as they happen.

        The `AnsweredTurn` comes last, after the commit. The turn continues if the caller stops
        reading; ``watch`` is called with each event even then, before the commit.
        """

        async def run(emit: EmitProgress) -> AnsweredTurn:
            def emit_watched(event: TurnOpened | TurnEvent) -> None:
                watch(event)
                emit(event)

            return await self._run(command, keep, emit if watch is watch_nothing else emit_watched)

        return self._background.stream(run)

    async def _run(
        self, command: TurnCommand, keep: Keep, emit: EmitProgress | None
    ) -> AnsweredTurn:
        async with command.claim or nullcontext():
            lane_row = await self._lane_row(command)
            async with await self.admit(command, lane_row) as reservation:
                turn_id = command.claim.id(Kind.TURN) if command.claim else new_id(Kind.TURN)
                if command.thread_id is None and command.conversation_id is None:
                    return await self._run_alone(command, turn_id, reservation, keep, emit)
                if command.claim:  # before the lease notes this try
                    command = replace(command, first_try=command.claim.first_try)
                lease = await self._lease(command, turn_id)
                return await self.run_leased(
                    command, lease, reservation, lambda outcome, _: keep(outcome), emit
                )

    async def _lane_row(self, command: TurnCommand) -> Row | None:
        """The row of the turn's thread; None for a new conversation, or a turn without a thread."""
        owner, storage = command.owner, self._storage
        if command.conversation_id is not None:
            return await storage.conversation_ids.find(owner, command.conversation_id)
        if command.thread_id is None:
            return None
        if not is_id(Kind.THREAD, command.thread_id):
            raise RowMissingError(f"{command.thread_id!r} is not the id of a thread.")
        return await storage.lanes.read(owner, newest_first(command.thread_id))

    async def admit(self, command: TurnCommand, lane_row: Row | None) -> Reservation:
        """Reserve what a turn may need in its owner's budgets; the caller must settle it.

        Raises:
            BudgetTooSmallError, BudgetExhaustedError: if a budget does not allow it.
        """
        return await self._recording.admission.reserve(
            command.owner, command.request, lane_row, command.caller
        )

    async def _lease(self, command: TurnCommand, turn_id: str) -> Lease:
        """Lease the turn's thread when it is free, and record the try under the idempotency key."""
        owner, claim, storage = command.owner, command.claim, self._storage

        async def note_try(lane_row: Row) -> Sequence[Change]:
            return [await claim.begin(end_of_conversation(lane_row))] if claim else ()

        async def take() -> Lease:
            if command.conversation_id is not None:
                ids = storage.conversation_ids
                return await ids.lease(owner, command.conversation_id, turn_id, note_try)
            row_key = newest_first(command.thread_id or "")
            return await storage.lanes.take(owner, row_key, turn_id, note_try)

        return await when_free(take, command.wait)

    async def _run_alone(
        self,
        command: TurnCommand,
        turn_id: str,
        reservation: Reservation,
        keep: Keep,
        emit: EmitProgress | None,
    ) -> AnsweredTurn:
        opened = TurnOpened(turn_id, None, reservation.warnings, rests=reservation.rests)
        if emit:
            emit(opened)
        turn = self._running(command, turn_id, emit)
        answer, record = await self._answer(command, turn, reservation)
        outcome = self._outcome(opened, turn, answer, record)
        kept, partition = [record.insert(), *keep(outcome)], partition_key(command.owner)

        async def commit(audit: Sequence[Change]) -> None:
            await self._commits.write(partition, [*kept, *audit])

        await self._recording.commit(commit, record, answer, command.caller)
        return _raised(outcome)

    async def run_leased(
        self,
        command: TurnCommand,
        lease: Lease,
        reservation: Reservation,
        also_commit: AlsoCommit = _nothing_else,
        emit: EmitProgress | None = None,
    ) -> AnsweredTurn:
        """Run the turn that holds ``lease``; its commit releases the lease."""
        storage, keeper = self._storage, LeaseKeeper(self._storage.lanes, lease)
        conversation: StoredConversation | None = None
        if command.thread_id is not None or command.conversation_id is not None:
            conversation = StoredConversation(storage.table, keeper, command.first_try)
        thread_id = conversation.state.thread_id if conversation else None
        opened = TurnOpened(
            lease.holder,
            thread_id,
            reservation.warnings,
            command.conversation_id,
            reservation.rests,
        )
        if emit:
            emit(opened)
        turn = self._running(command, lease.holder, emit, conversation, keeper.ensure_held)
        try:
            async with keeper:
                answer, record = await self._answer(command, turn, reservation, lease.row)
        except LeaseLostError:
            raise
        except StateError:  # such as a history that cannot be read
            await self._free(keeper.lease)
            raise
        outcome = self._outcome(opened, turn, answer, record)
        values: dict[str, Value] = {"last_turn_id": opened.turn_id}
        kept: list[Change] = [record.insert()]
        if conversation is not None:
            result = answer if isinstance(answer, TurnResult) else None
            values |= conversation.values_after(result, storage.clock())
            if result is not None and storage.keep_history:
                kept.append(conversation.keep(command.request, result))

        async def commit(audit: Sequence[Change]) -> Row:
            def changes(lane_row: Row) -> Sequence[Change]:
                return [*kept, *audit, *also_commit(outcome, lane_row)]

            return await storage.lanes.release(keeper.lease, values, changes)

        row = await self._recording.commit(commit, record, answer, command.caller)
        if command.mode is not TurnMode.JOB:
            await wake_waiting(storage.wake_lane, command.owner, row)
        return _raised(outcome)

    async def _free(self, lease: Lease) -> None:
        """End the lease of a turn that cannot be recorded; the next turn checks Foundry."""
        try:
            await self._storage.lanes.release(lease, {UNSETTLED: True})
        except StateError as error:
            log.warning("A thread stays leased for a while: %s", error)

    def _running(
        self,
        command: TurnCommand,
        turn_id: str,
        emit: EmitProgress | None,
        conversation: StoredConversation | None = None,
        ensure_held: BeforeSend = may_send,
    ) -> RunningTurn:
        return RunningTurn(
            turn_id=turn_id,
            request=command.request,
            deadline=Deadline(command.seconds),
            model_type=command.model_type,
            conversation=conversation,
            terms=command.caller.terms,
            emit=emit,
            ensure_held=ensure_held,
            attempts=command.attempts,
        )

    async def _answer(
        self,
        command: TurnCommand,
        turn: RunningTurn,
        reservation: Reservation,
        lane_row: Row | None = None,
    ) -> tuple[ModelOutcome, TurnRecord]:
        """Get a turn's answer and its record, within its span and with its id in the logs."""
        begun = self._begun(command, turn, lane_row)
        await self._recording.audit.open_day(command.owner, begun.created_at)
        config, message = self._recording.admission.config, command.request.message
        agent = "" if command.orchestrated else config.agent_id
        with turn_span(agent) as span, log_ids(turn_id=turn.turn_id):
            watching = self._recording.watching(command.owner, command.received_at, reservation)
            with watching as watch:
                answer = await self._answered(command, turn)
            record = self._recording.ended(begun, answer, watch)
            record_turn(span, record, begun.model)
            if config.log_content:
                said = answer.content if isinstance(answer, TurnResult) else None
                record_content(span, message, said)
        return answer, record

    async def _answered(self, command: TurnCommand, turn: RunningTurn) -> ModelOutcome:
        answerer = self._router if command.orchestrated else self._foundry
        assert answerer is not None  # noqa: S101 - without Foundry all turns are orchestrated
        try:
            return await answerer.answer(self._settled(turn))
        except FoundryError as error:
            log.warning("Turn %s failed: %s (%s)", turn.turn_id, error.code, error.request_id)
            return error if turn.request.model else _of_settings(error)
        except StateError:  # nothing can be recorded; the next holder of the lease resolves it
            raise
        except Exception:  # the turn must be recorded and its lease released after any error
            log.exception("Turn %s failed unexpectedly", turn.turn_id)
            return FoundryError(INTERNAL_ERROR.detail, code=INTERNAL_ERROR.code)

    def _settled(self, turn: RunningTurn) -> RunningTurn:
        """The turn, whose request has an answer to each call that waits on its thread.

        Raises:
            UnknownCallError: if it answers a call that does not wait there.
        """
        if turn.conversation is None:
            settled(turn.request, ())
            return turn
        request = turn.conversation.settled(turn.request)
        if self._foundry is not None and self._recording.admission.config.callers_approve:
            request = replace(request, asks_caller=True)
        return replace(turn, request=request)

    def _outcome(
        self, opened: TurnOpened, turn: RunningTurn, answer: ModelOutcome, record: TurnRecord
    ) -> Outcome:
        if isinstance(answer, FoundryError):
            return answer
        attempts, now = tuple(turn.attempts), self._storage.clock()
        return AnsweredTurn(opened, answer, attempts, record.latency, now)

    def _begun(self, command: TurnCommand, turn: RunningTurn, lane_row: Row | None) -> TurnRecord:
        """The record of a turn before it has an answer."""
        request, config = command.request, self._recording.admission.config
        thread_row = lane_row if turn.conversation else None
        model = request.model or (
            (command.model_type or "") if command.orchestrated else config.model
        )
        return TurnRecord(
            turn_id=turn.turn_id,
            owner=command.owner,
            thread_id=turn.conversation.state.thread_id if turn.conversation else None,
            job_id=command.job_id,
            mode=command.mode,
            status=TurnStatus.FAILED,
            created_at=self._storage.clock(),
            latency=0.0,
            domain=request.domain,
            model=model,
            agent_id=None if command.orchestrated else config.agent_id or None,
            question=request.message,
            metadata=request.metadata,
            attribution=self._recording.admission.attribution(
                command.owner, request.metadata, thread_row, command.caller
            ),
        )

    async def aclose(self) -> None:
        """Wait for the turns that still run."""
        await self._background.aclose()


def _of_settings(error: FoundryError) -> FoundryError:
    """The error of a request that names no model: a missing one is not the caller's mistake."""
    if not isinstance(error, ModelNotFoundError):
        return error
    return NotFoundError(error.message, status_code=error.status_code, request_id=error.request_id)


def _raised(outcome: Outcome) -> AnsweredTurn:
    if isinstance(outcome, FoundryError):
        raise outcome
    return outcome
