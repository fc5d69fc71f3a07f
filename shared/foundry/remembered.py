"""The threads that a client remembers, and a lock for each, so that its turns run one at a time."""

from __future__ import annotations

import asyncio
import builtins
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from ulid import ULID

from ..state.threads import MAX_METADATA_PAIRS
from .errors import NotFoundError, ThreadBusyError
from .exchange import TURN_MARK
from .models import ThreadInfo, ThreadRef, TurnRequest, TurnResult
from .retry import Deadline

MAX_REMEMBERED_THREADS = 10_000
"""Of one client, about 1 KB each; those used longest ago are forgotten first."""

MAX_LOST_MESSAGES = 16
"""Of one thread: messages without an answer that are recognised when they are sent again."""


class _Sent(NamedTuple):
    """A message that was sent and has no answer."""

    request: TurnRequest
    mark: str
    """In the metadata of the request, and so of the response that answers it."""

    def has_content_of(self, request: TurnRequest) -> bool:
        """Whether a request has the same content."""
        return (request.message, request.parts) == (self.request.message, self.request.parts)


@dataclass(slots=True)
class Sending:
    """A turn that has its thread to itself."""

    request: TurnRequest
    thread: ThreadRef
    deadline: Deadline
    result: TurnResult | None = None
    """Set it once there is an answer."""


@dataclass(slots=True)
class RememberedThread:
    """A thread as its client knows it; turns run one at a time, in the order they were asked."""

    info: ThreadInfo
    ref: ThreadRef
    users: int = 0
    """Callers that hold the thread or wait for it."""
    is_deleted: bool = False
    _free: asyncio.Lock = field(default_factory=asyncio.Lock)
    _lost: deque[_Sent] = field(default_factory=lambda: deque[_Sent](maxlen=MAX_LOST_MESSAGES))

    @asynccontextmanager
    async def turn(self, request: TurnRequest, seconds: float) -> AsyncGenerator[Sending]:
        """Hold the thread for a turn; the wait and the turn take at most ``seconds``.

        A message equal to one whose answer was already lost is a retry of it. Any other is new, so
        no answer that Foundry already holds is taken for its own.

        Raises:
            ThreadBusyError: if earlier turns take longer.
            NotFoundError: if the thread was deleted meanwhile.
        """
        lost = next((sent for sent in self._lost if sent.has_content_of(request)), None)
        async with self.alone(seconds) as deadline:
            mark = lost.mark if lost else str(ULID())
            ref = replace(self.ref, sent_before=lost is not None, by_others=lost is None)
            self.ref = replace(self.ref, look_first=True)
            sending = Sending(self._marked(request, mark), ref, deadline)
            try:
                yield sending
            finally:
                if sending.result:
                    self._move_on(sending.result)
                else:
                    self._lost.append(_Sent(request, mark))

    @asynccontextmanager
    async def alone(self, seconds: float) -> AsyncGenerator[Deadline]:
        """Hold the thread for the block; wait at most ``seconds`` until it is free.

        Raises:
            ThreadBusyError: if earlier turns take longer.
            NotFoundError: if the thread was deleted meanwhile.
        """
        deadline = Deadline(seconds)
        self.users += 1
        try:
            await self._wait(seconds)
            try:
                if self.is_deleted:
                    raise NotFoundError(f"The thread {self.info.thread_id} was deleted.")
                yield deadline
            finally:
                self._free.release()
        finally:
            self.users -= 1

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._free.acquire()
        except builtins.TimeoutError:
            raise ThreadBusyError(
                f"Earlier messages of this client on the thread took longer than {seconds:g} s. "
                "Close streams that are not read to their end (contextlib.aclosing), or raise "
                "FOUNDRY_TIMEOUT."
            ) from None

    def _marked(self, request: TurnRequest, mark: str) -> TurnRequest:
        """The request with its mark, if a conversation can be searched for it and there is room."""
        if not self.ref.conversation_id or len(request.metadata) >= MAX_METADATA_PAIRS:
            return request
        return replace(request, metadata={**request.metadata, TURN_MARK: mark})

    def _move_on(self, result: TurnResult) -> None:
        """Update the position from which the next turn continues."""
        self._lost.clear()
        self.info.message_count += 1
        self.info.last_accessed = datetime.now(UTC)
        self.ref = replace(
            self.ref,
            last_response_id=result.response_id,
            last_item_id=result.last_item_id or self.ref.last_item_id,
            look_first=result.last_item_id is None and self.ref.conversation_id is not None,
            calls_open=False,
            owed=result.owed,
        )


class RememberedThreads:
    """The threads that a client made or used, at most `MAX_REMEMBERED_THREADS` of them."""

    def __init__(self) -> None:
        self._threads: OrderedDict[str, RememberedThread] = OrderedDict()

    def get(self, thread_id: str) -> RememberedThread | None:
        """A thread, which counts as used."""
        if thread_id in self._threads:
            self._threads.move_to_end(thread_id)
        return self._threads.get(thread_id)

    def add(self, thread: RememberedThread) -> RememberedThread:
        """Remember a thread and return it, or the one already remembered by that id."""
        known = self._threads.setdefault(thread.info.thread_id, thread)
        self._threads.move_to_end(thread.info.thread_id)
        idle = (name for name, each in self._threads.items() if not each.users)
        if len(self._threads) > MAX_REMEMBERED_THREADS and (oldest := next(idle, None)):
            del self._threads[oldest]
        return known

    def forget(self, thread: RememberedThread) -> None:
        """Forget a thread that was deleted."""
        thread.is_deleted = True
        self._threads.pop(thread.info.thread_id, None)

    def infos(self) -> Iterable[ThreadInfo]:
        """The information about each thread."""
        return [thread.info for thread in self._threads.values()]
