"""Makes text of a server safe for a terminal.

Models and other users write what commands print. On a terminal, control characters could move the
cursor, rewrite what stands above, or set the clipboard, and characters that change the direction of
text could hide it.
"""

from __future__ import annotations

import re

_UNSAFE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, DEL, C1
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # direction and line separators
    "\ud800-\udfff\ufff9-\ufffb"  # halves of pairs, annotations
    "\U000e0000-\U000e007f"  # tags, which are invisible
)
_UNSAFE_CHARACTER = re.compile(f"[{_UNSAFE}]")
_SEQUENCE = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)?")
"""Whole control sequences (CSI) and strings (OSC, DCS ...). One that is cut loses its first
character."""


def printable(text: str) -> str:
    """The text without anything that a terminal acts on, but for tabs and line breaks."""
    return _UNSAFE_CHARACTER.sub("", _SEQUENCE.sub("", text))


def one_line(text: str) -> str:
    """The text as `printable` leaves it, on one line."""
    return " ".join(printable(text).split())


def escaped_json(document: str) -> str:
    """JSON text in which such characters are escaped; it means the same."""
    return _UNSAFE_CHARACTER.sub(_escape, document)


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2))
