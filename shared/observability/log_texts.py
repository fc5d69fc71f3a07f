"""Keeps the texts of exceptions out of logs, for an app that records no content.

The text of an exception that nobody foresaw may quote a message or an answer. Its class and where
it was raised are enough to find a fault.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator


class WithoutTexts(logging.Filter):
    """Has handlers write exceptions by class and place only; no record is held back."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the exception of a record by its traceback without texts."""
        if record.exc_info and (error := record.exc_info[1]):
            record.exc_text = described(error)
            record.exc_info = None
        return True


def described(error: BaseException) -> str:
    """As `traceback.format_exception`, each exception by its class alone."""
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
    """Have all handlers of the root logger write exceptions without their texts."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, WithoutTexts) for each in handler.filters):
            handler.addFilter(WithoutTexts())
