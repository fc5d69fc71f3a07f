"""Which revision a request is of, and what it must say about itself."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from starlette.datastructures import Headers

from shared.mcp.jsonrpc import Fault, Message, RpcError
from shared.mcp.revisions import (
    META_CAPABILITIES,
    META_CLIENT,
    META_VERSION,
    METHOD_HEADER,
    NAME_HEADER,
    STATELESS,
    SUPPORTED,
    VERSION_HEADER,
    WITH_HANDSHAKE,
    revision_of,
)

META = {META_VERSION: STATELESS, META_CAPABILITIES: {}}
HEADERS = {VERSION_HEADER: STATELESS, METHOD_HEADER: "tools/call", NAME_HEADER: "usage"}


def asked(meta: Any = META, headers: Any = HEADERS, **params: Any) -> str:
    """The revision of a call."""
    message = Message("tools/call", 1, {"name": "usage", "_meta": meta, **params})
    pairs = headers.items() if isinstance(headers, dict) else headers
    raw = [(name.lower().encode(), value.encode()) for name, value in pairs]
    return revision_of(message, Headers(raw=raw))


def fault(**named: Any) -> Fault:
    with pytest.raises(RpcError) as caught:
        asked(**named)
    return caught.value.fault


def test_a_stateless_request_says_all_about_itself() -> None:
    assert asked() == STATELESS
    encoded = f"=?base64?{base64.b64encode(b'usage').decode()}?="
    assert asked(headers={**HEADERS, NAME_HEADER: encoded}) == STATELESS
    assert asked(meta={**META, META_CLIENT: {"name": "a"}}) == STATELESS


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_is_given_once_and_agrees_with_the_body(name: str) -> None:
    without = {other: value for other, value in HEADERS.items() if other != name}
    for headers in (without, {**HEADERS, name: "another"}, [*HEADERS.items(), (name, "usage")]):
        if name == VERSION_HEADER and headers is without:
            continue  # the body says it
        assert fault(headers=headers) is Fault.HEADER_MISMATCH
    assert fault(headers=without) is Fault.HEADER_MISMATCH


@pytest.mark.parametrize("encoded", ["=?base64?//?=", "=?base64?dXNhZ2U?=", "=?base64?8J+Y?="])
def test_a_name_whose_encoding_is_broken_differs(encoded: str) -> None:
    assert fault(headers={**HEADERS, NAME_HEADER: encoded}) is Fault.HEADER_MISMATCH


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {META_VERSION: STATELESS},
        {META_VERSION: 1, META_CAPABILITIES: {}},
        {**META, META_CAPABILITIES: []},
        {**META, META_CLIENT: "a"},
    ],
)
def test_what_the_revision_requires_in_meta_is_required(meta: dict[str, Any]) -> None:
    assert fault(meta=meta) is Fault.INVALID_PARAMS


def test_an_earlier_revision_is_named_by_the_header_or_not_at_all() -> None:
    for revision in WITH_HANDSHAKE:
        assert asked(meta={}, headers={VERSION_HEADER: revision}) == revision
    assert asked(meta={}, headers={}) == WITH_HANDSHAKE[-1]
    begun = Message("initialize", 1, {"protocolVersion": "2099-01-01"})
    assert revision_of(begun, Headers({})) == WITH_HANDSHAKE[0]


def test_an_unknown_revision_is_answered_with_those_that_are_supported() -> None:
    with pytest.raises(RpcError) as caught:
        asked(meta={}, headers={VERSION_HEADER: "2024-11-05"})
    assert caught.value.fault is Fault.UNSUPPORTED_VERSION
    assert caught.value.data == {"supported": list(SUPPORTED), "requested": "2024-11-05"}
    meta = {**META, META_VERSION: "2099-01-01"}
    headers = {**HEADERS, VERSION_HEADER: "2099-01-01"}
    assert fault(meta=meta, headers=headers) is Fault.UNSUPPORTED_VERSION
