"""A conversation in Table Storage: the row of its thread, and a row for each message pair.

A turn that needs the history reads it a page at a time, newest first, until the model's context is
full, so a turn costs the same however long the conversation grows.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from ..foundry.models import ThreadRef, TurnRequest, TurnResult
from ..state.exchanges import PAGE_ROWS, Exchanges, insert_exchange
from ..state.keeper import LeaseKeeper
from ..state.lanes import UNSETTLED
from ..state.table import Change, Table, Value
from ..state.threads import LAST_TURN_TOKENS, OpenCalls, Thread
from ..state.turns import FirstTry, responses_since
from .conversation import Conversation, ConversationState, HistoryWindow, MessagePair
from .open_calls import handed_over, settled


class StoredConversation(Conversation):
    """The conversation of a thread that this turn has leased."""

    def __init__(self, table: Table, keeper: LeaseKeeper, first_try: FirstTry | None) -> None:
        lease = keeper.lease
        self._thread = Thread.from_row(lease.owner, lease.row)
        super().__init__(_state_of(self._thread, taken_over=lease.taken_over))
        self.metadata = self._thread.metadata
        self._table = table
        self._keeper = keeper
        self._first_try = first_try
        self._sent: TurnRequest | None = None
        """What was sent to the model, where it was."""

    async def thread_to_send_on(self) -> ThreadRef | None:
        """The thread in Foundry; on a retry, the message is searched from its first try on."""
        thread, first_try = self.state.thread, self._first_try
        if thread is None or first_try is None:
            return thread
        if first_try.conversation_id not in {"", thread.conversation_id}:
            return thread  # it was created since, and does not hold the message
        others: frozenset[str] = frozenset()
        if first_try.item_id != (thread.last_item_id or ""):  # other turns ran since
            owner, thread_id = self._thread.owner, self._thread.thread_id
            others = await responses_since(self._table, owner, thread_id, first_try.at)
        return replace(
            thread,
            last_item_id=first_try.item_id or None,
            look_first=True,
            sent_before=True,
            others=others,
        )

    def settled(self, request: TurnRequest) -> TurnRequest:
        """The request with an answer to each open call; on a retry, they may be answered already.

        Raises:
            UnknownCallError: if it answers a call or request that is not open.
        """
        was_sent = self._first_try is not None
        self._sent = settled(request, self.state.handed_over, was_sent=was_sent)
        return self._sent

    async def history(self, since: int, tokens: int) -> tuple[MessagePair, ...]:
        """The stored pairs that fit into ``tokens``; none if content is not recorded."""
        window, end = HistoryWindow(tokens), self.state.messages
        stored = Exchanges(self._table)
        owner, thread_id = self._thread.owner, self._thread.thread_id
        while end > since and not window.is_full:
            page = await stored.read(owner, thread_id, since, end)
            if not page:
                break
            window.take(MessagePair.from_json(exchange) for exchange in reversed(page))
            end -= PAGE_ROWS
        return window.pairs()

    async def save(self, state: ConversationState) -> None:
        """Store a new state in the thread's row."""
        self.state = state
        await self._keeper.note(self._values_of(state))

    def values_after(self, result: TurnResult | None, now: datetime) -> dict[str, Value]:
        """The properties of the thread after a turn; ``result`` is None if it failed."""
        if result is not None:
            self.state = replace(self.state, handed_over=handed_over(result))
        values = {**self._values_of(self.state), "last_accessed": now}
        if result is not None:
            tokens = result.usage.get("total_tokens", 0)
            values["message_count"] = self._thread.message_count + 1
            values["total_tokens"] = self._thread.total_tokens + tokens
            values[LAST_TURN_TOKENS] = tokens
        return values

    def keep(self, request: TurnRequest, result: TurnResult) -> Change:
        """The change that stores a message pair, for models that store no history."""
        pair = MessagePair.of(self._sent or request, result)
        return insert_exchange(self.state.thread_id, self.state.messages, pair.to_json())

    def _values_of(self, state: ConversationState) -> dict[str, Value]:
        """The properties of the thread's row about Foundry's thread and what it waits for."""
        owed = state.thread.owed if state.thread else ()
        waits = OpenCalls(state.handed_over, owed)
        return {**_thread_values(state), **waits.replacing(self._keeper.lease.row)}


def _state_of(thread: Thread, *, taken_over: bool) -> ConversationState:
    ref = None
    if thread.conversation_id or thread.last_response_id:
        ref = ThreadRef(
            thread.conversation_id or None,
            thread.last_response_id or None,
            thread.last_item_id or None,
            look_first=taken_over or thread.unsettled,
            owed=thread.open_calls.owed,
        )
    return ConversationState(
        thread.thread_id,
        thread.message_count,
        ref,
        thread.messages_in_foundry,
        thread.open_calls.handed_over,
    )


def _thread_values(state: ConversationState) -> dict[str, Value]:
    """The properties of the thread's row about Foundry's thread; "" means none."""
    thread = state.thread
    if thread is None:
        return {}
    values: dict[str, Value] = {
        UNSETTLED: thread.look_first,
        "messages_in_foundry": state.in_foundry,
        "last_response_id": thread.last_response_id or "",
        "last_item_id": thread.last_item_id or "",
    }
    if thread.conversation_id:
        values["conversation_id"] = thread.conversation_id
    return values
