"""What the app needs of the Functions worker it runs in.

**Errors without text.** The Functions host logs the exception of a function with its text and its
causes, which may quote messages. It gets an exception that names only the function and the error's
class; the app's own log has the place as well.

**Closing.** The Functions host ends a Python worker with SIGKILL, which no process can handle: the
worker does not declare the capability that makes the host ask first
(`HandlesWorkerTerminateMessage`), and has no other hook. The app therefore writes regularly what is
only in memory. SIGTERM, which ends a Python process at once, without `atexit`, comes from platforms
that stop a container; it is handled here.
https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script/Workers/ProcessManagement/WorkerProcess.cs
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec

from .jobs.runner import UnrunnableError
from .observability.logs import described

log = logging.getLogger(__name__)

_Parameters = ParamSpec("_Parameters")

CLOSE_SECONDS = 8.0
"""A container that was asked to stop is usually killed after 10 s."""

Step = Callable[[], Awaitable[None]]


class TriggerFailedError(Exception):
    """A queue or timer function failed; the host repeats it by its own rules."""

    def __init__(self, function: str, error: Exception) -> None:
        subject = f" ({error})" if isinstance(error, UnrunnableError) else ""
        super().__init__(f"{function} failed: {type(error).__qualname__}{subject}")


def hide_error_text(
    function: Callable[_Parameters, Awaitable[None]],
) -> Callable[_Parameters, Awaitable[None]]:
    """Replace the exceptions of a function by `TriggerFailedError`, which holds ids only."""

    @wraps(function)
    async def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        try:
            return await function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the border: the host must not see its text
            failure = TriggerFailedError(function.__name__, error)
            log.error("%s\n%s", failure, described(error))  # noqa: TRY400 - without its text
        raise failure

    return run


def close_on_sigterm(*steps: Step) -> None:
    """Run ``steps`` one after the other when SIGTERM comes, then end by it.

    Does nothing outside a running loop of the main thread. A host that handles the signal itself,
    as the local one does, does so after this and replaces it.
    """
    try:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, _begin, loop, steps)
    except (RuntimeError, ValueError, NotImplementedError):
        return


def _begin(loop: asyncio.AbstractEventLoop, steps: tuple[Step, ...]) -> None:
    loop.remove_signal_handler(signal.SIGTERM)  # a second one ends the process at once
    ending = loop.create_task(_end(steps))
    _ENDING.add(ending)


async def _end(steps: tuple[Step, ...]) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            for step in steps:
                await step()
    except Exception:  # the border of a process: it must end in any case
        log.exception("The app was not closed in order")
    finally:
        # The worker's HTTP server has handlers of its own, and restores those it found.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


_ENDING: set[asyncio.Task[None]] = set()
"""Keeps the tasks from the garbage collector."""
