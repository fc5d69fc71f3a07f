"""A Foundry that answers every request in the same way, after a fixed time.

`python -m bench.upstream SECONDS FAULT_RATE` prints the port it listens on.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from .http_server import HttpConnection, running, serve

DELAY_SECONDS = 0.2
"""Before an answer, and before the first delta of a stream."""

DELTAS = 20
DELTA_SECONDS = 0.02
"""Between two deltas of a stream."""

TOKENS = 100

FAULT_RATE = 0.04
"""Of the requests, where a benchmark asks for faults."""

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


_REFUSED = b'{"error":{"code":"server_error","message":"bench"}}'
_FAULTS = (
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after-ms: 5\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_REFUSED), _REFUSED),
    b"",
    _STREAM + b"1\r\n",
)
"""A limit, an outage, and connections cut before an answer and within it."""


class Answering(HttpConnection):
    """Answers every request after the delay."""

    delay = DELAY_SECONDS
    fault_rate = 0.0
    requests = 0
    """Of all connections."""

    def answer(self, head: bytes, body: bytes) -> None:
        """See `HttpConnection.answer`."""
        number = Answering.requests = Answering.requests + 1
        before, now = int((number - 1) * self.fault_rate), int(number * self.fault_rate)
        if now > before:
            self._fail(_FAULTS[now % len(_FAULTS)])
        elif b'"stream":true' in body:
            self._begin_stream()
        else:
            self._later(self.write, _ANSWER)

    def _fail(self, fault: bytes) -> None:
        self.write(fault)
        if not fault.endswith((b"\r\n\r\n", _REFUSED)):
            self.close()

    def _later(self, call: Callable[..., None], *arguments: Any) -> None:
        if not self.delay:
            call(*arguments)
            return
        asyncio.get_running_loop().call_later(self.delay, call, *arguments)

    def _begin_stream(self) -> None:
        created = {"type": "response.created", "response": {"id": RESPONSE["id"]}}
        self.write(_STREAM + _chunk(created))
        self._later(self._continue_stream, DELTAS)

    def _continue_stream(self, left: int) -> None:
        """Send a delta that says when it was sent."""
        if not left:
            self.write(_chunk({"type": "response.completed", "response": RESPONSE}) + b"0\r\n\r\n")
            return
        sent_at = f"{perf_counter():.6f} "
        self.write(_chunk({"type": "response.output_text.delta", "delta": sent_at}))
        asyncio.get_running_loop().call_later(DELTA_SECONDS, self._continue_stream, left - 1)


def _chunk(event: dict[str, Any]) -> bytes:
    frame = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(frame), frame)


@contextmanager
def upstream(delay: float = DELAY_SECONDS, fault_rate: float = 0.0) -> Generator[str]:
    """The upstream as a process of its own, and its URL."""
    with running("bench.upstream", str(delay), str(fault_rate)) as port:
        yield f"http://127.0.0.1:{port}/openai/v1"


if __name__ == "__main__":
    Answering.delay, Answering.fault_rate = float(sys.argv[1]), float(sys.argv[2])
    asyncio.run(serve(Answering))
