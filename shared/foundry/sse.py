"""Server-sent events, read from bytes that may be split anywhere.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .errors import ProtocolError

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""A frame carries at most one whole response."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SseParser:
    """Collects bytes and gives the data of each frame once it is complete."""

    def __init__(self) -> None:
        self._rest = bytearray()
        """The incomplete last line; only a new chunk is searched for line ends."""
        self._data: list[bytes] = []
        self._size = 0
        self._started = False
        self._after_return = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The data of the frames that ``chunk`` completes; comments and names are skipped.

        Raises:
            ProtocolError: if a frame is larger than `MAX_FRAME_BYTES`.
        """
        for line in self._lines(chunk):
            if not line and self._data:
                yield b"\n".join(self._data).decode("utf-8", errors="replace")
                self._data, self._size = [], 0
            elif line.startswith(b"data:"):
                value = line[5:]
                self._data.append(value[1:] if value.startswith(b" ") else value)
                self._size += len(line)
                self._check(self._size)

    def _lines(self, chunk: bytes) -> list[bytes]:
        """The lines that ``chunk`` completes; a line feed after a carriage return adds none."""
        if chunk and self._after_return:
            chunk, self._after_return = chunk.removeprefix(b"\n"), False
        if chunk:
            self._after_return = chunk.endswith(b"\r")
        if not self._started:
            chunk, self._rest = bytes(self._rest) + chunk, bytearray()
            self._started = len(chunk) >= len(_BYTE_ORDER_MARK)
            chunk = chunk.removeprefix(_BYTE_ORDER_MARK)
        *lines, rest = _LINE_END.split(chunk)
        if lines:
            lines[0], self._rest = bytes(self._rest) + lines[0], bytearray()
        self._rest += rest
        self._check(len(self._rest))
        return lines

    @staticmethod
    def _check(size: int) -> None:
        if size > MAX_FRAME_BYTES:
            raise ProtocolError(f"An event of the stream is larger than {MAX_FRAME_BYTES} bytes.")
