"""Runs one invocation of a function: context, thread pool, time limit and log lines."""

import asyncio
import logging
import os
import threading
import time
import uuid
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, cast

from azure.functions import Context

from local.host.functions import Function

logger = logging.getLogger("local.host")

_thread_local_storage = threading.local()


@dataclass(frozen=True)
class Cause:
    """What started an invocation; `Context.trace_context` returns its trace fields."""

    reason: str
    """For the log."""
    invocation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    trace_parent: str = ""
    trace_state: str = ""


class InvocationContext(Context):
    """The value of a function's `context` parameter."""

    def __init__(self, function: Function, cause: Cause) -> None:
        self._function = function
        self._cause = cause

    @property
    def invocation_id(self) -> str:
        """The id of this run in the host's log."""
        return self._cause.invocation_id

    @property
    def thread_local_storage(self) -> Any:
        """Has the invocation id, for handlers that run in a thread."""
        return _thread_local_storage

    @property
    def function_name(self) -> str:
        """The name of the function."""
        return self._function.name

    @property
    def function_directory(self) -> str:
        """The folder of the file that defines the function."""
        return self._function.directory

    @property
    def trace_context(self) -> Any:
        """The caller's traceparent and tracestate."""
        return self._cause

    @property
    def retry_context(self) -> Any:
        """None, because retry policies do not apply to the triggers of this host."""
        return None


class InvocationFailedError(Exception):
    """The function raised or timed out. The host has logged it; the cause is chained."""


class Invoker:
    """Runs functions, coroutine functions on the loop and others in a pool of threads."""

    def __init__(self, function_timeout: timedelta | None) -> None:
        threads = os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT")
        self._threads = ThreadPoolExecutor(
            int(threads) if threads else None, thread_name_prefix="function"
        )
        self._timeout = None if function_timeout is None else function_timeout.total_seconds()

    async def invoke(self, function: Function, argument: object, cause: Cause) -> object:
        """Run `function` with `argument` for its trigger.

        Returns what the function returns. Raises InvocationFailedError when it raised or exceeded
        host.json's functionTimeout.
        """
        invocation_id = cause.invocation_id
        logger.info("Executing %s (%s, id=%s)", function.name, cause.reason, invocation_id)
        started = time.perf_counter()
        outcome = "cancelled"
        try:
            result = await self._run(function, argument, cause)
            outcome = "succeeded"
        except Exception as error:  # the border between the host and the app's code
            outcome = "failed"
            logger.exception("%s raised (id=%s)", function.name, invocation_id)
            raise InvocationFailedError(function.name) from error
        finally:
            elapsed_ms = (time.perf_counter() - started) * 1000
            logger.info(
                "Executed %s (%s, id=%s, %.0f ms)",
                function.name,
                outcome,
                invocation_id,
                elapsed_ms,
            )
        return result

    def close(self) -> None:
        """Stop the threads without waiting for handlers that still run in them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, function: Function, argument: object, cause: Cause) -> object:
        arguments: dict[str, object] = {function.trigger_argument: argument}
        if function.takes_context:
            arguments["context"] = InvocationContext(function, cause)
        async with asyncio.timeout(self._timeout):
            if function.is_async:
                _thread_local_storage.invocation_id = cause.invocation_id
                return await cast("Awaitable[object]", function.handler(**arguments))
            call = partial(_run_in_thread, function, arguments, cause.invocation_id)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, copy_context().run, call)


def _run_in_thread(function: Function, arguments: dict[str, object], invocation_id: str) -> object:
    _thread_local_storage.invocation_id = invocation_id
    try:
        return function.handler(**arguments)
    finally:
        _thread_local_storage.invocation_id = None
