"""Stop sequences, at which an answer is cut here, because the Responses API has none."""

from __future__ import annotations

from collections.abc import Sequence

MAX_STOPS = 4
MAX_STOP_CHARS = 256


class StopCutter:
    """Cuts a text at the first stop sequence, however it is split into pieces."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(filter(None, stops))
        self._held = ""
        """The end of the text so far, which may be the beginning of a stop sequence."""
        self.found = False

    def feed(self, piece: str) -> str:
        """The text that may be sent after another piece."""
        if self.found:
            return ""
        if not self._stops:
            return piece
        text = self._held + piece
        ends = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.found, self._held = True, ""
            return text[: min(ends)]
        kept = max(self._overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def rest(self) -> str:
        """The text that was held back, at the end of the answer."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """The length of the longest end of the text that a stop sequence begins with."""
        longest = min(len(stop) - 1, len(text))
        return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """A whole text up to the first stop sequence, and whether there was one."""
    cutter = StopCutter(stops)
    return cutter.feed(text) + cutter.rest(), cutter.found
