"""The hosts that jobs may be called back at, as a setting lists them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

HTTPS_PORT = 443
_ANY_NAME_BELOW = "*."
_ENTRY = re.compile(
    r"(?P<below>\*\.)?(?P<name>[^\s:/?#@\[\]*]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class CallbackHost:
    """One entry: a host, or any name below it."""

    name: str
    """In the form of DNS (`xn--...`), or an IPv6 address without brackets."""
    port: int = HTTPS_PORT
    names_below: bool = False

    @classmethod
    def parse(cls, entry: str) -> Self:
        """Read ``host``, ``*.host``, ``host:port`` or ``[address]:port``.

        Raises:
            ValueError: saying what an entry must be.
        """
        match = _ENTRY.fullmatch(entry.strip().lower())
        name = _dns_name(match["name"]) if match else None
        port = int(match["port"] or HTTPS_PORT) if match else 0
        if not match or name is None or not 0 < port <= _LAST_PORT:
            raise ValueError("write a host alone: name, *.name or name:port, no https:// and no /")
        if match["below"] and ":" in name:
            raise ValueError("no names are below an address")
        return cls(name, port, bool(match["below"]))

    def matches(self, host: str, port: int | None) -> bool:
        """Whether a URL's host, in the form of DNS, and its port are this entry's."""
        if port != self.port:
            return False
        host = host.lower().rstrip(".")
        return host.endswith("." + self.name) if self.names_below else host == self.name


def _dns_name(name: str) -> str | None:
    if name.startswith("["):
        return name[1:-1]
    try:
        ascii_name = name.rstrip(".").encode("idna").decode()
    except UnicodeError:
        return None
    return ascii_name if _NAME.fullmatch(ascii_name) else None
