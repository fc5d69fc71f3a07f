"""A Foundry that answers every request in the same way, after a fixed time.

`python -m bench.upstream` prints the port it listens on. It speaks just enough HTTP/1.1 to never be
what is measured: a request costs it some ten microseconds.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

DELAY_SECONDS = 0.2
"""Before an answer, and before the first delta of a stream."""

DELTAS = 20
DELTA_SECONDS = 0.02
"""Between two deltas of a stream."""

BACKLOG = 4096
TOKENS = 100

RESPONSE: dict[str, Any] = {
    "id": "resp_00000000000000000000000000000000",
    "object": "response",
    "created_at": 1_772_366_400,
    "status": "completed",
    "model": "llama-3.3-70b",
    "output": [
        {
            "id": "msg_00000000000000000000000000000000",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [
                {
                    "type": "output_text",
                    "text": "The capital of Belgium is Brussels. " * 10,
                    "annotations": [],
                    "logprobs": [],
                }
            ],
        }
    ],
    "usage": {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 80,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": TOKENS,
    },
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "temperature": 0.7,
    "top_p": 0.9,
}

_BODY = json.dumps(RESPONSE).encode()
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: bench\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nx-request-id: bench\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


class Answering(asyncio.Protocol):
    """One connection: every whole request on it is answered after the delay."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._received = b""
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head := self._received.find(b"\r\n\r\n")) >= 0:
            end = head + 4 + _length(self._received[:head])
            if len(self._received) < end:
                return
            streamed = b'"stream":true' in self._received[head:end]
            self._received = self._received[end:]
            if streamed:
                self._begin_stream()
            else:
                self._loop.call_later(DELAY_SECONDS, self._write, _ANSWER)

    def _begin_stream(self) -> None:
        created = {"type": "response.created", "response": {"id": RESPONSE["id"]}}
        self._write(_STREAM + _chunk(created))
        self._loop.call_later(DELAY_SECONDS, self._continue_stream, DELTAS)

    def _continue_stream(self, left: int) -> None:
        """Send a delta that tells when it was sent."""
        if not left:
            self._write(_chunk({"type": "response.completed", "response": RESPONSE}) + b"0\r\n\r\n")
            return
        sent_at = f"{perf_counter():.6f} "
        self._write(_chunk({"type": "response.output_text.delta", "delta": sent_at}))
        self._loop.call_later(DELTA_SECONDS, self._continue_stream, left - 1)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


def _chunk(event: dict[str, Any]) -> bytes:
    frame = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def _length(head: bytes) -> int:
    name = b"content-length:"
    start = head.lower().find(name)
    return int(head[start + len(name) :].split(b"\r\n", 1)[0]) if start >= 0 else 0


async def main() -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        server = await loop.create_server(Answering, sock=listener, backlog=BACKLOG)
        print(listener.getsockname()[1], flush=True)
        await server.serve_forever()


@contextmanager
def running() -> Generator[str]:
    """The upstream as a process of its own, and its URL."""
    command = [sys.executable, "-m", "bench.upstream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - ourselves
        try:
            port = int((process.stdout or sys.stdin).readline())
            yield f"http://127.0.0.1:{port}/openai/v1"
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(main())
