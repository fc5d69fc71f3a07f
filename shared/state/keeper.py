"""Renews a lease while its turn runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from .errors import LeaseLostError, StorageUnavailableError
from .lanes import Lanes, Lease
from .table import Value

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 3
"""Two renewals may fail before the lease ends."""


class LeaseKeeper:
    """Renews a lease during an ``async with`` block.

    If another holder takes over the lease, the block is cancelled and `LeaseLostError` is raised,
    because two turns must not run on a thread at once.
    """

    def __init__(self, lanes: Lanes, lease: Lease) -> None:
        self.lease = lease
        self._lanes = lanes
        self._writing = asyncio.Lock()
        self._lost: LeaseLostError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._renewer: asyncio.Task[None] | None = None
        """Started by the timer, because most turns end before a renewal is due."""

    async def note(self, values: Mapping[str, Value]) -> None:
        """Write ``values`` into the lane's row while the turn still runs."""
        async with self._writing:
            self.lease = await self._lanes.renew(self.lease, values)

    async def ensure_held(self) -> None:
        """Check that the lease is still ours, before an action that only the holder may take.

        A lease that may have expired, after a paused process or failed renewals, is renewed.

        Raises:
            LeaseLostError: if another holder took over.
            StorageUnavailableError: if it cannot be renewed, or not quickly enough to last.
        """
        if self._lost is not None:
            raise self._lost
        if self._is_held:
            return
        async with self._writing:
            for _ in range(RENEWALS_PER_LEASE):
                if not self._is_held:
                    self.lease = await self._lanes.renew(self.lease)
        if not self._is_held:
            raise StorageUnavailableError("A lease takes longer to renew than it lasts.")

    @property
    def _pause(self) -> float:
        """Seconds between two renewals."""
        return self._lanes.lease_seconds / RENEWALS_PER_LEASE

    @property
    def _is_held(self) -> bool:
        return self._lanes.is_surely_held(self.lease)

    async def __aenter__(self) -> Self:
        owner = asyncio.current_task()
        assert owner is not None  # noqa: S101 - a coroutine runs in a task
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._start, owner)
        return self

    def _start(self, owner: asyncio.Task[object]) -> None:
        self._renewer = asyncio.create_task(self._renew(owner))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        assert self._timer is not None  # noqa: S101 - set by __aenter__
        self._timer.cancel()
        if self._renewer is not None:
            self._renewer.cancel()
            await asyncio.wait([self._renewer])
        if self._lost is not None and kind in {asyncio.CancelledError, LeaseLostError}:
            task = asyncio.current_task()
            if task is not None and task.uncancel() == 0 and kind is asyncio.CancelledError:
                raise self._lost from error

    async def _renew(self, owner: asyncio.Task[object]) -> None:
        while True:
            try:
                await self.note({})
            except StorageUnavailableError as error:
                log.warning("A lease could not be renewed: %s", error)
            except LeaseLostError as error:
                self._lost = error
                owner.cancel()
                return
            await asyncio.sleep(self._pause)
