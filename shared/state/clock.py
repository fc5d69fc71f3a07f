"""The storage service's clock, which all instances share.

Leases are compared by it, because the clocks of two instances may differ by minutes. Every answer
of the service carries its time (to the second) in the `Date` header.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from time import monotonic

OBSERVE_EVERY_SECONDS = 30.0
"""Clocks drift slowly; there is no need to look at every answer."""


def utc_now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)


class StorageClock:
    """This machine's clock, corrected by what the service said last."""

    def __init__(self, local: Callable[[], datetime] = utc_now) -> None:
        self._local = local
        self._offset = timedelta(0)
        self._observed_at: float | None = None

    def __call__(self) -> datetime:
        """The service's time, as well as it is known."""
        return self._local() + self._offset

    def observe(self, date_header: str | None) -> None:
        """Take in the `Date` header of an answer."""
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
