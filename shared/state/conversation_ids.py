"""Maps callers' own conversation ids to threads.

One row maps a conversation id to its thread, and the thread's row has the key of that row. A
mapping hardly ever changes, so it is cached and looked up again when the thread is gone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from .contention import Contention
from .errors import RowChangedError, RowExistsError, RowMissingError
from .keys import Kind, conversation_key, new_id, newest_first, partition_key
from .lanes import AlsoTake, Clock, Lanes, Lease
from .table import Change, Operation, Row, Table
from .threads import Thread

REMEMBERED_THREADS = 10_000


class ConversationIds:
    """The conversation ids of all owners."""

    def __init__(
        self,
        table: Table,
        lanes: Lanes,
        clock: Clock,
        new_thread: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``new_thread`` counts a new thread of an owner, or raises if there are too many."""
        self._table = table
        self._lanes = lanes
        self._clock = clock
        self._new_thread = new_thread
        self._threads: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def find(self, owner: str, conversation_id: str) -> Row | None:
        """The row of the conversation's thread, or None."""
        key = (owner, conversation_id)
        if key not in self._threads:
            named = await self._table.get(partition_key(owner), conversation_key(conversation_id))
            if named is None:
                return None
            self._remember(key, str(named.values["thread_id"]))
        try:
            return await self._lanes.read(owner, newest_first(self._threads[key]))
        except RowMissingError:
            return None

    async def lease(self, owner: str, conversation_id: str, holder: str, also: AlsoTake) -> Lease:
        """Lease the conversation's thread; it is created if it does not exist (any more).

        Raises:
            LaneBusyError: if another turn runs on it.
            StorageContentionError: if other requests change it too often.
        """
        key = (owner, conversation_id)
        thread_id = self._threads.get(key) or await self._thread_id(owner, conversation_id)
        contention = Contention("the conversation")
        while True:
            try:
                lease = await self._lanes.take(owner, newest_first(thread_id), holder, also)
            except RowMissingError as error:
                await contention.pause(error)
                thread_id = await self._thread_id(owner, conversation_id, gone=thread_id)
                continue
            self._remember(key, thread_id)
            return lease

    async def thread_id(self, owner: str, conversation_id: str) -> str:
        """The id of the conversation's thread; it is created if it does not exist (any more).

        Raises:
            StorageContentionError: if other requests change it too often.
        """
        key = (owner, conversation_id)
        if await self.find(owner, conversation_id) is None:
            gone = self._threads.get(key)
            self._remember(key, await self._thread_id(owner, conversation_id, gone))
        return self._threads[key]

    def _remember(self, key: tuple[str, str], thread_id: str) -> None:
        """Cache a thread id, and drop the least recently used one."""
        self._threads[key] = thread_id
        self._threads.move_to_end(key)
        if len(self._threads) > REMEMBERED_THREADS:
            self._threads.popitem(last=False)

    async def _thread_id(self, owner: str, conversation_id: str, gone: str | None = None) -> str:
        """The id of the conversation's thread; a new one if it has none, or only ``gone``."""
        partition, row_key = partition_key(owner), conversation_key(conversation_id)
        contention = Contention("the conversation")
        while True:
            row = await self._table.get(partition, row_key)
            if row and row.values["thread_id"] != gone:
                return str(row.values["thread_id"])
            self._new_thread(owner)
            now = self._clock()
            thread = Thread(new_id(Kind.THREAD), owner, now, now, named_by=row_key)
            named = {"thread_id": thread.thread_id, "conversation_id": conversation_id}
            operation, etag = (Operation.REPLACE, row.etag) if row else (Operation.INSERT, None)
            thread_key = newest_first(thread.thread_id)
            changes = [
                Change(Operation.INSERT, thread_key, thread.to_values()),
                Change(operation, row_key, named, etag),
            ]
            try:
                etag = await self._table.write(partition, changes)
            except (RowExistsError, RowChangedError) as error:  # another request was faster
                await contention.pause(error)
                continue
            stored = {name: v for name, v in thread.to_values().items() if v is not None}
            self._lanes.remember(owner, Row(thread_key, etag, stored))
            return thread.thread_id
