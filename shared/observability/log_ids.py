"""The ids of what is being done, in every log record that is written meanwhile.

Formatters and exporters find them as attributes of the record: ``request_id``, ``turn_id``,
``job_id``, and the ``trace_id`` and ``span_id`` of the trace. An id that does not apply is "".
"""

from __future__ import annotations

import logging
from contextvars import ContextVar, Token

from opentelemetry import trace
from opentelemetry.trace import format_span_id, format_trace_id

LOG_IDS = ("request_id", "turn_id", "job_id")

_NOTHING: dict[str, str] = dict.fromkeys(LOG_IDS, "")
_current: ContextVar[dict[str, str]] = ContextVar("log_ids", default=_NOTHING)


class log_ids:  # noqa: N801 - used as a function: `with log_ids(turn_id=...)`
    """Name ids in the log records that a block, and the tasks it starts, write."""

    __slots__ = ("_ids", "_token")

    _token: Token[dict[str, str]]

    def __init__(self, **ids: str) -> None:
        """Take ids of `LOG_IDS`, beside those that hold already."""
        self._ids = _current.get() | ids

    def __enter__(self) -> None:
        self._token = _current.set(self._ids)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class LogIdsFilter(logging.Filter):
    """Gives each record that passes its handler the ids; what a record brought itself stays.

    It belongs on handlers: on a logger, it would not see the records of those below, and a record
    factory would clash with libraries that name the same ids as `extra`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the ids; no record is held back."""
        place = trace.get_current_span().get_span_context()
        ids = {
            **_current.get(),
            "trace_id": format_trace_id(place.trace_id) if place.is_valid else "",
            "span_id": format_span_id(place.span_id) if place.is_valid else "",
        }
        record.__dict__.update(ids | record.__dict__)
        return True


def add_ids_to_logs() -> None:
    """Have all handlers of the root logger add the ids."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, LogIdsFilter) for each in handler.filters):
            handler.addFilter(LogIdsFilter())
