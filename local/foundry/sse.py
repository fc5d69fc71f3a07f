"""Server-sent events, intact or changed by a fault."""

import json
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import StreamingResponse

from .cut import cut
from .faults import FAILING, Fault, FaultKind

KEEP_ALIVE = ": keep-alive\n\n"
_TERMINAL_MARKS = tuple(
    f'{{"type": "response.{name}"' for name in ("completed", "incomplete", "failed")
)


def frame(data: str) -> str:
    """Write one event of the Responses API, whose JSON begins with its type."""
    name = data.split('"', 4)[3]
    return f"event: {name}\ndata: {data}\n\n"


def stream(
    request: Request,
    events: AsyncGenerator[str | None],
    fault: Fault | None,
    write: Callable[[str], str] = frame,
) -> StreamingResponse:
    """Answer with a stream of events given as JSON text; None keeps the connection alive."""
    body = _frames(events, write) if fault is None else _spoiled(request, events, fault, write)
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    if fault is not None and fault.kind is FaultKind.GZIP:
        headers["content-encoding"] = "gzip"
        compressed = _compressed(body)
        return StreamingResponse(compressed, media_type="text/event-stream", headers=headers)
    return StreamingResponse(body, media_type="text/event-stream", headers=headers)


_FAILED_MARK = '{"type": "response.failed"'


def _failed_ends(data: str, fault: Fault) -> list[str]:
    """The last events of a stream whose response failed."""
    nested = "type" in fault.error  # its own type would replace that of the event
    fields = {"error": fault.error} if nested else fault.error
    event = json.dumps({"type": "error", **fields, "param": None})
    match fault.kind:
        case FaultKind.ERROR_EVENT:
            return [event]
        case FaultKind.FAILED_THEN_ERROR:
            return [data, event]
        case FaultKind.ERROR_THEN_FAILED:
            return [event, data]
        case _:
            return [data]


async def _compressed(body: AsyncIterator[str]) -> AsyncIterator[bytes]:
    """Compress a body as one gzip member, flushed after each piece."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    async for piece in body:
        yield packer.compress(piece.encode()) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


async def _frames(
    events: AsyncGenerator[str | None], write: Callable[[str], str]
) -> AsyncIterator[str]:
    async with aclosing(events):
        async for data in events:
            yield KEEP_ALIVE if data is None else write(data)


async def _spoiled(
    request: Request,
    events: AsyncGenerator[str | None],
    fault: Fault,
    write: Callable[[str], str],
) -> AsyncIterator[str]:
    sent = 0
    async with aclosing(events):
        async for data in events:
            if data is None:
                yield KEEP_ALIVE
                continue
            if fault.kind is FaultKind.CUT_STREAM and sent >= fault.after_events:
                await cut(request, reset=False)
                return
            if fault.kind is FaultKind.NO_TERMINAL and data.startswith(_TERMINAL_MARKS):
                return
            if data.startswith(_FAILED_MARK) and fault.kind in FAILING:
                for end in _failed_ends(data, fault):
                    yield write(end)
                return
            spoil = fault.kind is FaultKind.MALFORMED_EVENT and sent == fault.at
            yield write(data[: len(data) // 2] if spoil else data)
            sent += 1
