"""Where messages of queues and ticks of timers come in, and how what fails there is reported.

The Functions host logs the exception of a function with its text and its causes, which may quote
what was said. It gets one that has none; the log of the app has the rest, by class and place.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec

from .jobs.runner import UnrunnableError
from .observability.logs import described

log = logging.getLogger(__name__)

_Parameters = ParamSpec("_Parameters")


class TriggerFailedError(Exception):
    """A function that no caller waits for has failed; the host tries again by its own rules."""

    def __init__(self, function: str, error: Exception) -> None:
        subject = f" ({error})" if isinstance(error, UnrunnableError) else ""
        super().__init__(f"{function} failed: {type(error).__qualname__}{subject}")


def hide_error_text(
    function: Callable[_Parameters, Awaitable[None]],
) -> Callable[_Parameters, Awaitable[None]]:
    """Have a function fail with `TriggerFailedError`, which holds ids only."""

    @wraps(function)
    async def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        try:
            return await function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the border: the host must not see its text
            failure = TriggerFailedError(function.__name__, error)
            log.error("%s\n%s", failure, described(error))  # noqa: TRY400 - without its text
        raise failure

    return run
