"""Which network addresses a callback may connect to: those of the public internet.

An address is looked at in the moment a socket is made for it, after all names are resolved and
whatever they resolved to before. So no spelling of a host, no second DNS answer and no redirect
leads into the app's own network.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

AZURE_PLATFORM = IPv4Address("168.63.129.16")
"""A public address that, inside Azure, is the host's own agent.
https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16"""

NAT64 = IPv6Network("64:ff9b::/96")
"""IPv4 addresses as a translator writes them (RFC 6052)."""

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""As `socket.getaddrinfo` gives it; the address comes last."""


class ForbiddenAddressError(OSError):
    """A callback would have gone to an address that is not on the public internet."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"{address} is not an address of the public internet")


def is_public(address: str) -> bool:
    """Whether an address, `%scope` allowed, can be reached by everybody."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and (inner := _inner(ip)):
        return is_public(str(inner))
    site_local = isinstance(ip, IPv6Address) and ip.is_site_local
    return ip.is_global and not (ip.is_multicast or site_local or ip == AZURE_PLATFORM)


def _inner(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to."""
    if ip in NAT64:
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    teredo = ip.teredo
    return ip.ipv4_mapped or ip.sixtofour or (teredo[1] if teredo else None)


def public_socket(info: AddressInfo) -> socket.socket:
    """A socket for a resolved address; what connects with it must take the same address.

    Raises:
        ForbiddenAddressError: if the address is not public; nothing is sent.
    """
    family, kind, protocol, _, (address, *_) = info
    if not is_public(str(address)):
        raise ForbiddenAddressError(str(address))
    return socket.socket(family, kind, protocol)
