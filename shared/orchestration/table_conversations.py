"""Conversations in Table Storage, where every instance of the app finds them.

A conversation is a thread like any other: its row, its lease and its turns are those of
`shared.state`. Beside it stand a row that leads from the caller's conversation id to the thread,
and a row for each exchange. A turn that finds its thread remembered takes two transactions, as
any; one that needs the history reads it a page at a time, newest first, until the model's context
is full.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter

from ..foundry.models import ThreadRef, TurnResult
from ..state.contention import Contention
from ..state.errors import RowChangedError, RowExistsError, RowMissingError
from ..state.exchanges import PAGE_ROWS, Exchanges, insert_exchange
from ..state.keeper import LeaseKeeper
from ..state.keys import Kind, conversation_key, new_id, newest_first, partition_key
from ..state.lanes import UNSETTLED, Clock, Lanes, Lease, WakeLane, wake_waiting
from ..state.table import Change, Operation, Row, Table, Value
from ..state.threads import LAST_TURN_TOKENS, Thread
from ..state.turns import Attribution, TurnMode, TurnRecord, TurnStatus
from ..turns.recording import Recording, Watch
from .conversations import Conversation, ConversationState, ModelRequest
from .history import HistoryWindow, MessagePair
from .results import Orchestrated

REMEMBERED_THREADS = 10_000
"""Which thread a conversation id leads to hardly ever changes."""


@dataclass(frozen=True, slots=True)
class Storage:
    """What conversations are kept with."""

    table: Table
    lanes: Lanes
    clock: Clock
    wake_lane: WakeLane
    recording: Recording
    new_thread: Callable[[str], None] = lambda _: None
    """Counts a thread that is about to be started for an owner; may refuse it."""


class TableConversation(Conversation):
    """A conversation whose thread we hold the lease of."""

    def __init__(self, storage: Storage, lease: Lease) -> None:
        self._thread = Thread.from_row(lease.owner, lease.row)
        super().__init__(_standing(self._thread, taken_over=lease.taken_over), lease.holder)
        self._exchanges = Exchanges(storage.table)
        self.keeper = LeaseKeeper(storage.lanes, lease)

    async def history(self, since: int, tokens: int) -> tuple[MessagePair, ...]:
        """As the base class says."""
        window, end = HistoryWindow(tokens), self.standing.exchanges
        owner, thread_id = self._thread.owner, self._thread.thread_id
        while end > since and not window.is_full:
            page = await self._exchanges.read(owner, thread_id, since, end)
            if not page:  # content is not recorded
                break
            window.take(MessagePair(*texts) for texts in reversed(page))
            end -= PAGE_ROWS
        return window.exchanges()

    async def note(self, standing: ConversationState) -> None:
        """As the base class says."""
        self.standing = standing
        await self.keeper.note(_thread_values(standing))

    async def ensure_held(self) -> None:
        """As the base class says."""
        await self.keeper.ensure_held()

    def ended(self, now: datetime) -> dict[str, Value]:
        """The thread's properties after the turn."""
        values = {**_thread_values(self.standing), "last_accessed": now}
        if isinstance(self.outcome, Orchestrated):
            thread, tokens = self._thread, self.outcome.routed.result.usage.get("total_tokens", 0)
            values["exchanges"] = self.standing.exchanges + 1
            values["message_count"] = thread.message_count + 1
            values["total_tokens"] = thread.total_tokens + tokens
            values[LAST_TURN_TOKENS] = tokens
        return values


class TableConversations:
    """Keeps conversations in Table Storage; a second turn at once is refused."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._threads: OrderedDict[tuple[str, str], str] = OrderedDict()

    @asynccontextmanager
    async def open(self, request: ModelRequest) -> AsyncGenerator[Conversation]:
        """As `Conversations.open`."""
        async with request.claim or nullcontext():
            taken_up, turn_id = perf_counter(), request.new_turn_id()
            recording = self._storage.recording
            admission, owner, caller = recording.admission, request.owner, request.caller
            row = await self._row(request)
            whom = admission.attribution(owner, request.turn.metadata, row, caller)
            begun = _begun(request, turn_id, self._storage.clock(), whom)
            async with await admission.reserve(owner, request.turn, row, caller) as hold:
                lease = await self._lease(request, turn_id)
                conversation = TableConversation(self._storage, lease)
                with recording.watching(request.owner, taken_up, hold) as watch:
                    try:
                        async with conversation.keeper:
                            yield conversation
                    finally:
                        await self._keep(request, conversation, begun, watch)

    async def _keep(
        self,
        request: ModelRequest,
        conversation: TableConversation,
        begun: TurnRecord,
        watch: Watch,
    ) -> None:
        """Write how the turn ended and end the lease, in one transaction."""
        storage, lease, outcome = self._storage, conversation.keeper.lease, conversation.outcome
        values = conversation.ended(storage.clock())
        if outcome is None:  # nobody waited for the end
            row = await storage.lanes.release(lease, values)
        else:
            ended = outcome.routed.result if isinstance(outcome, Orchestrated) else outcome
            thread_id = conversation.standing.thread_id
            record = storage.recording.ended(replace(begun, thread_id=thread_id), ended, watch)
            changes = [record.insert(), *request.keep(outcome)]
            if isinstance(ended, TurnResult) and storage.recording.content:
                number, question = conversation.standing.exchanges, request.turn.message
                changes.append(insert_exchange(thread_id, number, question, ended.content))
            commit = storage.lanes.release(lease, values, lambda _: changes)
            row = await storage.recording.alongside(commit, record, ended, request.caller)
        await wake_waiting(storage.wake_lane, request.owner, row)

    async def _row(self, request: ModelRequest) -> Row | None:
        """The row of the conversation's thread, where there is one yet."""
        key, partition = (request.owner, request.conversation_id), partition_key(request.owner)
        if key not in self._threads:
            named = await self._storage.table.get(
                partition, conversation_key(request.conversation_id)
            )
            if named is None:
                return None
            self._remember(key, str(named.values["thread_id"]))
        try:
            return await self._storage.lanes.read(request.owner, newest_first(self._threads[key]))
        except RowMissingError:
            return None

    async def _lease(self, request: ModelRequest, turn_id: str) -> Lease:
        """Lease the conversation's thread, which is made where there is none (any more)."""
        key = (request.owner, request.conversation_id)
        thread_id = self._threads.get(key) or await self._thread_of(request)
        contention = Contention("the conversation")
        while True:
            try:
                lease = await self._storage.lanes.take(
                    request.owner, newest_first(thread_id), turn_id
                )
            except RowMissingError as error:
                await contention.pause(error)
                thread_id = await self._thread_of(request, gone=thread_id)
                continue
            self._remember(key, thread_id)
            return lease

    def _remember(self, key: tuple[str, str], thread_id: str) -> None:
        """Remember a conversation's thread, and forget the one that was used longest ago."""
        self._threads[key] = thread_id
        self._threads.move_to_end(key)
        if len(self._threads) > REMEMBERED_THREADS:
            self._threads.popitem(last=False)

    async def _thread_of(self, request: ModelRequest, gone: str | None = None) -> str:
        """The id of the conversation's thread; a new one where it has none but the one ``gone``."""
        table, partition = self._storage.table, partition_key(request.owner)
        row_key = conversation_key(request.conversation_id)
        contention = Contention("the conversation")
        while True:
            row = await table.get(partition, row_key)
            if row and row.values["thread_id"] != gone:
                return str(row.values["thread_id"])
            self._storage.new_thread(request.owner)
            thread = replace(self._new_thread(request), named_by=row_key)
            named = {"thread_id": thread.thread_id, "conversation_id": request.conversation_id}
            action, etag = (Operation.REPLACE, row.etag) if row else (Operation.INSERT, None)
            thread_row = newest_first(thread.thread_id)
            changes = [
                Change(Operation.INSERT, thread_row, thread.to_values()),
                Change(action, row_key, named, etag),
            ]
            try:
                etag = await table.write(partition, changes)
            except (RowExistsError, RowChangedError) as error:  # another request was quicker
                await contention.pause(error)
                continue
            kept = {name: v for name, v in thread.to_values().items() if v is not None}
            self._storage.lanes.remember(request.owner, Row(thread_row, etag, kept))
            return thread.thread_id

    def _new_thread(self, request: ModelRequest) -> Thread:
        now = self._storage.clock()
        return Thread(new_id(Kind.THREAD), request.owner, created_at=now, last_accessed=now)


def _standing(thread: Thread, *, taken_over: bool) -> ConversationState:
    backing = None
    if thread.conversation_id or thread.last_response_id:
        backing = ThreadRef(
            thread.conversation_id or None,
            thread.last_response_id or None,
            thread.last_item_id or None,
            look_first=taken_over or thread.unsettled,
        )
    return ConversationState(
        thread.thread_id, thread.exchanges, backing, thread.exchanges_in_foundry
    )


def _thread_values(standing: ConversationState) -> dict[str, Value]:
    """The thread's properties that say what Foundry has; an empty text stands for nothing."""
    backing = standing.backing
    if backing is None:
        return {}
    values: dict[str, Value] = {
        UNSETTLED: backing.look_first,
        "exchanges_in_foundry": standing.in_foundry,
    }
    if backing.conversation_id:
        values["conversation_id"] = backing.conversation_id
        values["last_item_id"] = backing.last_item_id or ""
        values["last_response_id"] = backing.last_response_id or ""
    elif backing.last_response_id:
        values["last_response_id"] = backing.last_response_id
    return values


def _begun(
    request: ModelRequest, turn_id: str, created_at: datetime, attribution: Attribution
) -> TurnRecord:
    turn = request.turn
    return TurnRecord(
        turn_id=turn_id,
        owner=request.owner,
        thread_id=None,
        job_id=None,
        mode=TurnMode.STREAM if request.streamed else TurnMode.SYNC,
        status=TurnStatus.FAILED,
        created_at=created_at,
        latency=0.0,
        domain=turn.domain,
        model=turn.model or request.model_type or "",
        question=turn.message,
        metadata=turn.metadata,
        attribution=attribution,
    )
