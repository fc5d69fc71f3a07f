"""Adds ids to log records, and removes the texts of exceptions if content is not recorded.

The ids are attributes of a record, for formatters and exporters: ``request_id``, ``turn_id`` and
``job_id`` of the current work, and ``trace_id`` and ``span_id`` of the trace. An id that does not
apply is "".

If content is not recorded, exceptions are logged without their texts, because the text of an
unexpected exception may quote a message or an answer. Its class and traceback are enough to find a
bug.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextvars import ContextVar, Token

from opentelemetry import trace
from opentelemetry.trace import format_span_id, format_trace_id

LOG_IDS = ("request_id", "turn_id", "job_id")

_NOTHING: dict[str, str] = dict.fromkeys(LOG_IDS, "")
_current: ContextVar[dict[str, str]] = ContextVar("log_ids", default=_NOTHING)


class log_ids:  # noqa: N801 - used as a function: `with log_ids(turn_id=...)`
    """Adds ids to the log records that a block, and the tasks it starts, write."""

    __slots__ = ("_ids", "_token")

    _token: Token[dict[str, str]]

    def __init__(self, **ids: str) -> None:
        """Add ids, whose names are in `LOG_IDS`, to the current ones."""
        self._ids = _current.get() | ids

    def __enter__(self) -> None:
        self._token = _current.set(self._ids)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class LogIdsFilter(logging.Filter):
    """Adds the ids to each record of a handler, except attributes that the record already has.

    It belongs on handlers: on a logger, it would not see the records of child loggers, and a
    record factory would clash with libraries that pass the same ids as `extra`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the ids; every record passes."""
        current = trace.get_current_span().get_span_context()
        ids = {
            **_current.get(),
            "trace_id": format_trace_id(current.trace_id) if current.is_valid else "",
            "span_id": format_span_id(current.span_id) if current.is_valid else "",
        }
        record.__dict__.update(ids | record.__dict__)
        return True


def add_ids_to_logs() -> None:
    """Add the ids on all handlers of the root logger."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, LogIdsFilter) for each in handler.filters):
            handler.addFilter(LogIdsFilter())


class WithoutTexts(logging.Filter):
    """Makes handlers write only the class and traceback of exceptions; every record passes."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the exception of a record by its traceback without texts."""
        if record.exc_info and (error := record.exc_info[1]):
            record.exc_text = described(error)
            record.exc_info = None
        return True


def described(error: BaseException) -> str:
    """Like `traceback.format_exception`, with each exception's class instead of its text."""
    return "".join(_lines(error))


def _lines(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _lines(cause)
        yield "\nand then:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__qualname__}\n"


def keep_texts_out_of_logs() -> None:
    """Log exceptions without their texts on all handlers of the root logger."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, WithoutTexts) for each in handler.filters):
            handler.addFilter(WithoutTexts())
