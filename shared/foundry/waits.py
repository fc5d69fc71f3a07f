"""How long a service asks to wait, in every spelling and place in which services say it.

Headers (`retry-after-ms`, `x-ms-retry-after-ms`, `Retry-After` in seconds or as a date), fields of
an error, and prose. No expression here can take long over a text from outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

MAX_RETRY_AFTER_SECONDS = 120.0
"""Longer waits than this are cut: quota windows are a minute long."""

MAX_PROSE_CHARS = 2000

_HEADERS = {"retry-after-ms": 1000.0, "x-ms-retry-after-ms": 1000.0, "retry-after": 1.0}
"""In order of precedence, and how many of their units are a second."""

_FIELDS = {
    "retryafterms": 1000.0,
    "xmsretryafterms": 1000.0,
    "retryaftermilliseconds": 1000.0,
    "retryafter": 1.0,
    "retryafterseconds": 1.0,
    "retryafterinseconds": 1.0,
}
"""The same for the fields of an error, whose names are compared without punctuation."""

_ASKED = re.compile(r"(?:try again|retry|wait)(?: in| after| for)?(?: at least)? ", re.IGNORECASE)
_PIECE = re.compile(r"(?:,? and |,? )?(\d{1,9}(?:\.\d{1,9})?) ?([a-z]{0,12})", re.IGNORECASE)
_UNITS = {
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
}


def plain(name: str) -> str:
    """A name without case and punctuation: `RateLimitExceeded` and `rate_limit_exceeded` agree."""
    return "".join(filter(str.isalnum, name[:100])).casefold()


def retry_after(
    headers: Mapping[str, str], message: str = "", fields: Iterable[Mapping[str, Any]] = ()
) -> float | None:
    """Seconds to wait that an answer asks for, by its headers, an error's fields, or its text."""
    for name, divisor in _HEADERS.items():
        if (seconds := _seconds(headers.get(name), divisor)) is not None:
            return seconds
    for error in fields:
        given = {plain(name): value for name, value in error.items()}
        for name, divisor in _FIELDS.items():
            if (seconds := _seconds(given.get(name), divisor)) is not None:
                return seconds
    for asked in _ASKED.finditer(message[:MAX_PROSE_CHARS]):
        if (seconds := _duration(message[asked.end() :][:100])) is not None:
            return seconds
    return None


def _seconds(value: object, divisor: float) -> float | None:
    """A wait as a number, a duration (`1m30s`) or a date says it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return _clamped(float(value) / divisor)
    except OverflowError:
        return MAX_RETRY_AFTER_SECONDS
    except ValueError:
        text = str(value).strip()[:100]
    duration = _duration(text)
    return _until(text) if duration is None else duration


def _duration(text: str) -> float | None:
    """The sum of the pieces that a text begins with, such as `1m30s` or `2.5 seconds`."""
    total, position = None, 0
    while piece := _PIECE.match(text, position):
        unit = _UNITS.get(piece[2].casefold())
        if unit is None:
            break
        total = (total or 0.0) + float(piece[1]) * unit
        position = piece.end()
    return None if total is None else _clamped(total)


def _clamped(seconds: float) -> float | None:
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds >= 0 else None


def _until(date: str) -> float | None:
    """The time until a date of HTTP (RFC 9110) or of JSON (ISO 8601)."""
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        try:
            moment = datetime.fromisoformat(date)
        except ValueError:
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - datetime.now(UTC)).total_seconds()
    return _clamped(max(seconds, 0.0))
