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
"""Of the header, which leaves out the parts of a second."""

_TICK = timedelta(microseconds=1)


def utc_now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)


class StorageClock:
    """This machine's clock, corrected by the last `Date` header of the service.

    The header has no parts of a second, so the clock may be up to `RESOLUTION` behind the service.
    It starts `RESOLUTION` behind this machine's clock, and where a correction leaves it at most
    `RESOLUTION` behind the last time it gave, it goes on from that time: what this process did
    first has the earlier time.
    """

    def __init__(self, local: Callable[[], datetime] = utc_now) -> None:
        self._local = local
        self._offset = -RESOLUTION
        self._observed_at: float | None = None
        self._last = datetime.min.replace(tzinfo=UTC)

    def __call__(self) -> datetime:
        """The best estimate of the service's time."""
        now = self._local() + self._offset
        if now < self._last <= now + RESOLUTION:
            now = self._last + _TICK
        self._last = now
        return now

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
        self._observed_at = now
