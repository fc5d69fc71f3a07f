"""Exceptions in logs, without their texts."""

import io
import logging

from shared.observability.logs import WithoutTexts

SAID = "marmalade"


def fail() -> None:
    try:
        raise KeyError(SAID)  # noqa: TRY301 - the test is about a chain
    except KeyError as error:
        raise ValueError(f"about {SAID}") from error


def test_an_exception_is_logged_by_class_and_place_only() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(WithoutTexts())
    try:
        fail()
    except ValueError as error:
        given = (type(error), error, error.__traceback__)
        handler.handle(logging.LogRecord("x", logging.ERROR, "", 1, "It failed", None, given))
    logged = written.getvalue()
    assert SAID not in logged
    for shown in ("It failed", "KeyError", "ValueError", "in fail"):
        assert shown in logged
