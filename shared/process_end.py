"""Saves and closes the app when its process is asked to end.

The Functions host ends a Python worker with SIGKILL, which no process can see: the worker does not
declare the capability by which a worker is asked first (`HandlesWorkerTerminateMessage`), and has
no other hook. What is only in memory is therefore written regularly. SIGTERM, which ends a Python
process at once, without `atexit`, comes from platforms that stop a container; it is handled here.
https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script/Workers/ProcessManagement/WorkerProcess.cs
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

CLOSE_SECONDS = 8.0
"""A container that was asked to stop is usually killed after 10 s."""

Step = Callable[[], Awaitable[None]]


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
    except Exception:  # the border of a process: it ends whatever happens
        log.exception("The app was not closed in order")
    finally:
        # The worker's HTTP server has handlers of its own, and puts back what it found.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


_ENDING: set[asyncio.Task[None]] = set()
"""Kept from the garbage collector."""
