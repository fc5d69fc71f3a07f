"""The storage service's clock, which all instances share.

Leases use it, because the clocks of two instances may differ by minutes. Every response of the
service has its time, to the second, in the `Date` header.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from time import monotonic

OBSERVE_EVERY_SECONDS = 30.0
"""Clocks drift slowly, so not every response is needed."""

RESOLUTION = timedelta(seconds=1)
"""Of the header: two observations may differ by as much."""

_NEVER = datetime.min.replace(tzinfo=UTC)


def utc_now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)


class StorageClock:
    """This machine's clock, corrected by the last `Date` header of the service.

    An observation after the first one never sets it back by less than the header's resolution, so
    that what this process did first has the earlier time.
    """

    def __init__(self, local: Callable[[], datetime] = utc_now) -> None:
        self._local = local
        self._offset = timedelta(0)
        self._observed_at: float | None = None
        self._last = _NEVER

    def __call__(self) -> datetime:
        """The best estimate of the service's time."""
        now = self._local() + self._offset
        if not now < self._last <= now + RESOLUTION:
            self._last = now
        return self._last

    def observe(self, date_header: str | None) -> None:
        """Correct the clock by the `Date` header of a response."""
        now = monotonic()
        recently = self._observed_at is not None and now - self._observed_at < OBSERVE_EVERY_SECONDS
        if date_header is None or recently:
            return
        try:
            moment = parsedate_to_datetime(date_header)
        except ValueError:
            return
        self._offset = moment.replace(tzinfo=moment.tzinfo or UTC) - self._local()
        if self._observed_at is None:  # until now it was this machine's time, which may be wrong
            self._last = _NEVER
        self._observed_at = now
