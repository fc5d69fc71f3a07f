"""Answers a repeated request: waits for the first one, with comments that keep the stream alive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from ..http.answers import Answer, Streamed
from ..problems import INTERNAL_ERROR, problem_from
from ..turns.background import QUIET_SECONDS

log = logging.getLogger(__name__)

KEEP_ALIVE = b": the turn still runs\n\n"
"""A comment, which every reader of server-sent events drops."""

Failed = Callable[[Mapping[str, Any]], bytes]
"""Makes the only frame of a stream that fails before it begins, from a problem document."""


async def joined(
    work: Coroutine[Any, Any, Answer | Streamed],
    failed: Failed,
    request_id: str,
    quiet_seconds: float = QUIET_SECONDS,
) -> Answer | Streamed:
    """The answer of ``work`` if it comes soon, and else a stream that has it when it comes.

    Work whose caller leaves is cancelled: a turn that it began goes on.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=quiet_seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if done:
        return task.result()
    return Streamed(_waiting(task, failed, request_id, quiet_seconds))


async def _waiting(
    task: asyncio.Task[Answer | Streamed], failed: Failed, request_id: str, quiet_seconds: float
) -> AsyncIterator[bytes]:
    try:
        yield KEEP_ALIVE
        while not (await asyncio.wait({task}, timeout=quiet_seconds))[0]:
            yield KEEP_ALIVE
        answer = await task
        if isinstance(answer, Answer):
            yield failed(answer.body or {})
            return
        async for chunk in answer.chunks:
            yield chunk
    except Exception as error:
        problem = problem_from(error)
        if problem is INTERNAL_ERROR:
            log.exception("Request %s failed while it waited", request_id)
        yield failed(problem.to_json(request_id))
    finally:
        task.cancel()
