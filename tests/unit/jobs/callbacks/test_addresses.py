"""Where a callback may connect to."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jobs.callbacks.addresses import ForbiddenAddressError, is_public, public_socket

FORBIDDEN = [
    "0.0.0.0",  # noqa: S104 - to be refused
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.1.2.3",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:0:127.0.0.1",
    "::ffff:0:8.8.8.8",
    "::ffff:168.63.129.16",
    "64:ff9b::a83f:8110",
    "64:ff9b:1::7f00:1",
    "64:ff9b:1::808:808",
    "64:ff9b:0:0:0:1:808:808",
    "2002:808:808::",
    "2001:0:808:808::",
    "2001:2::1",
    "2001:20::1",
    "2606:4700::5efe:7f00:1",
    "2606:4700::200:5efe:a00:1",
    "2606:4700::1111%eth0",
    "::ffff:8.8.8.8%1",
    "fec0::5efe:808:808",
    "5f00::1",
    "3fff::1",
    "4000::1",
    "100::1",
    "192.0.0.9",
    "192.0.0.170",
    "192.88.99.1",
    "198.51.100.1",
    "203.0.113.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "8.8.8.8.",
    "localhost",
    "",
]
PUBLIC = ["8.8.8.8", "20.50.2.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_an_address_that_not_everybody_can_reach_gets_no_socket(address: str) -> None:
    assert not is_public(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(ForbiddenAddressError, match="not an address of the public internet"):
        public_socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443)))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_public(address)


def test_a_public_address_gets_a_socket() -> None:
    made = public_socket(
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("8.8.8.8", 443))
    )
    with made:
        assert made.family == socket.AF_INET


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_no_spelling_of_an_inner_address_passes(address: object) -> None:
    mapped = f"::ffff:{address}"
    assert not is_public(str(address))
    assert not is_public(mapped)


@given(st.ip_addresses(v=6))
def test_only_given_out_addresses_pass(address: IPv6Address) -> None:
    embeds = address in IPv6Network("::ffff:0:0/96") or address in IPv6Network("64:ff9b::/96")
    assert not is_public(str(address)) or embeds or address in IPv6Network("2000::/3")


@given(st.ip_addresses(v=4))
def test_whatever_python_calls_private_is_refused(address: IPv4Address) -> None:
    assert address.is_global or not is_public(str(address))
