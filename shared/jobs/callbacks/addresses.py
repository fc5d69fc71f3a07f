"""Restricts callbacks to addresses of the public internet.

An address is checked when its socket is created, after the host name is resolved. So neither an
unusual spelling of a host nor a changed DNS record reaches the app's own network.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Any

NOT_PUBLIC = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # inside Azure, the host's own agent
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
"""https://www.iana.org/assignments/iana-ipv4-special-registry and
https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16; the last one is
multicast and reserved. Not `ipaddress.is_global`, which differs between Python releases."""

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All allocated IPv6 addresses. Outside, only the two forms below that embed an IPv4 address are
allowed (https://www.iana.org/assignments/ipv6-address-space)."""

NOT_PUBLIC_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocols: Teredo, benchmarks, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
"""https://www.iana.org/assignments/iana-ipv6-special-registry."""

IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
NAT64 = IPv6Network("64:ff9b::/96")
"""Public if the embedded IPv4 address is. NAT64 is the prefix that networks use for IPv4 addresses
behind a translator (RFC 6052)."""

ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""The start of an interface id that embeds a tunnel endpoint's IPv4 address (RFC 5214)."""

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""An entry of `socket.getaddrinfo`; the address is its last member."""


class ForbiddenAddressError(OSError):
    """A callback's host resolved to an address that is not on the public internet."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"{address} is not an address of the public internet")


def is_public(address: str) -> bool:
    """Whether an address is public; False for an invalid address."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in NOT_PUBLIC)
    if ip in IPV4_MAPPED or ip in NAT64:
        return ip.scope_id is None and is_public(str(IPv4Address(int(ip) & 0xFFFF_FFFF)))
    return (
        ip in GLOBAL_UNICAST
        and ip.scope_id is None
        and int(ip) >> 32 & 0xFFFF_FFFF not in ISATAP
        and not any(ip in network for network in NOT_PUBLIC_6)
    )


def public_socket(info: AddressInfo) -> socket.socket:
    """Create a socket for a resolved address; it must be connected to the same address.

    Raises:
        ForbiddenAddressError: if the address is not public; nothing is sent.
    """
    family, kind, protocol, _, (address, *_) = info
    if not is_public(str(address)):
        raise ForbiddenAddressError(str(address))
    return socket.socket(family, kind, protocol)
