"""The revisions of the protocol, and what a request must say about itself.

From 2026-07-28 on, each request names its revision and repeats its method and the name of its tool
in headers, which proxies read. Earlier revisions begin with `initialize`; what that settles is the
same for every client, so nothing is stored.
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from starlette.datastructures import Headers

from .jsonrpc import MAX_ID_CHARS, Fault, Message, RpcError

STATELESS = "2026-07-28"
WITH_HANDSHAKE = ("2025-11-25", "2025-06-18", "2025-03-26")
"""Newest first."""
SUPPORTED = (STATELESS, *WITH_HANDSHAKE)

INITIALIZE = "initialize"

_PREFIX = "io.modelcontextprotocol/"
META_VERSION = f"{_PREFIX}protocolVersion"
META_CAPABILITIES = f"{_PREFIX}clientCapabilities"
META_CLIENT = f"{_PREFIX}clientInfo"
META_SERVER = f"{_PREFIX}serverInfo"

VERSION_HEADER = "MCP-Protocol-Version"
METHOD_HEADER = "Mcp-Method"
NAME_HEADER = "Mcp-Name"

_NAMED_BY: Mapping[str, str] = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
}
"""The parameter that the header repeats, by method."""

_BASE64, _END = "=?base64?", "?="


def revision_of(message: Message, headers: Headers) -> str:
    """The revision by which a request is answered.

    Raises:
        RpcError: if the app does not support it, or the request does not follow it.
    """
    named = message.meta.get(META_VERSION)
    in_header = headers.get(VERSION_HEADER)
    if message.method == INITIALIZE and named is None:
        return WITH_HANDSHAKE[0]
    if named is None and in_header != STATELESS:
        return _supported(in_header or WITH_HANDSHAKE[-1])
    if not isinstance(named, str):
        raise RpcError(Fault.INVALID_PARAMS, f"_meta must have the text {META_VERSION}.")
    _check(VERSION_HEADER, headers, named)
    if _supported(named) == STATELESS:
        _check_stateless(message, headers)
    return named


def _supported(revision: str) -> str:
    if revision in SUPPORTED:
        return revision
    data = {"supported": list(SUPPORTED), "requested": revision[:MAX_ID_CHARS]}
    message = f"Unsupported protocol version; supported are {', '.join(SUPPORTED)}."
    raise RpcError(Fault.UNSUPPORTED_VERSION, message, data)


def _check_stateless(message: Message, headers: Headers) -> None:
    _check(METHOD_HEADER, headers, message.method)
    if (parameter := _NAMED_BY.get(message.method)) is not None:
        name = message.params.get(parameter)
        if not isinstance(name, str):
            raise RpcError(Fault.INVALID_PARAMS, f"{parameter} must be a text.")
        _check(NAME_HEADER, headers, name)
    if not isinstance(message.meta.get(META_CAPABILITIES), dict):
        raise RpcError(Fault.INVALID_PARAMS, f"_meta must have the object {META_CAPABILITIES}.")
    client = message.meta.get(META_CLIENT, {})
    if not isinstance(client, dict):
        raise RpcError(Fault.INVALID_PARAMS, f"{META_CLIENT} must be an object.")


def _check(name: str, headers: Headers, expected: str) -> None:
    """Check that a header is given once, and repeats what the body says."""
    given = headers.getlist(name)
    if len(given) != 1:
        how = "missing" if not given else "given more than once"
        raise RpcError(Fault.HEADER_MISMATCH, f"The header {name} is {how}.")
    if _decoded(name, given[0]) != expected:
        raise RpcError(Fault.HEADER_MISMATCH, f"The header {name} differs from the body.")


def _decoded(name: str, value: str) -> str | None:
    """The value of a header; None if its encoding is broken."""
    if name != NAME_HEADER or not (value.startswith(_BASE64) and value.endswith(_END)):
        return value
    try:
        return base64.b64decode(value[len(_BASE64) : -len(_END)], validate=True).decode()
    except (binascii.Error, ValueError):
        return None
