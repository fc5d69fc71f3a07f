"""JSON-RPC messages: what is read, what is refused, and the id of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.mcp.jsonrpc import (
    MAX_ID_CHARS,
    Fault,
    Message,
    RpcError,
    error_json,
    is_id,
    member,
    read_message,
)

VALID = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def refused(document: Any) -> RpcError:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(RpcError) as caught:
        read_message(content)
    return caught.value


def test_a_request_and_a_notification_are_read() -> None:
    params = {"name": "usage", "_meta": {"progressToken": "p"}}
    request = read_message(json.dumps({**VALID, "params": params}).encode())
    assert request == Message("tools/list", 1, params)
    assert request.progress_token == "p"
    note = read_message(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')
    assert (note.id, note.params, note.progress_token) == (None, {}, None)


def test_params_of_null_are_none() -> None:
    assert read_message(json.dumps({**VALID, "params": None}).encode()).params == {}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"a": NaN}', b'{"id": 1} {}'])
def test_what_is_not_json_is_a_parse_error(content: bytes) -> None:
    error = refused(content)
    assert error.fault is Fault.PARSE_ERROR
    assert "id" not in error_json(error.request_id, error)


@pytest.mark.parametrize("document", [[], [VALID, VALID], "ping", 1, None])
def test_a_batch_is_answered_once_without_an_id(document: Any) -> None:
    error = refused(document)
    assert error.fault is Fault.INVALID_REQUEST
    answer = error_json(error.request_id, error)
    assert answer == {
        "jsonrpc": "2.0",
        "error": {"code": -32600, "message": str(error)},
    }


@pytest.mark.parametrize("change", [{"jsonrpc": "1.0"}, {"method": 1}, {"params": []}])
def test_what_is_no_request_is_answered_with_its_id(change: dict[str, Any]) -> None:
    error = refused({**VALID, **change})
    assert (error.fault, error.request_id) == (Fault.INVALID_REQUEST, 1)
    assert error_json(error.request_id, error)["id"] == 1


@pytest.mark.parametrize("id_", [None, True, 1.5, [], {}, 2**63, "i" * (MAX_ID_CHARS + 1)])
def test_an_id_that_cannot_be_repeated_is_refused(id_: Any) -> None:
    error = refused({**VALID, "id": id_})
    assert (error.fault, error.request_id) == (Fault.INVALID_REQUEST, None)


@pytest.mark.parametrize("id_", [0, -1, 2**63 - 1, "", "i" * MAX_ID_CHARS])
def test_an_id_is_an_integer_or_a_text(id_: Any) -> None:
    assert is_id(id_)
    assert read_message(json.dumps({**VALID, "id": id_}).encode()).id == id_


def test_a_progress_token_that_is_no_id_gets_no_reports() -> None:
    for token in (None, 1.5, [], "t" * (MAX_ID_CHARS + 1)):
        message = Message("tools/call", 1, {"_meta": {"progressToken": token}})
        assert message.progress_token is None


def test_a_member_that_is_no_object_is_refused() -> None:
    assert member({}, "arguments") == member({"arguments": None}, "arguments") == {}
    for value in ([], "a", 0):
        with pytest.raises(RpcError) as caught:
            member({"arguments": value}, "arguments")
        assert caught.value.fault is Fault.INVALID_PARAMS


def test_data_is_in_the_error_only_if_there_is_some() -> None:
    assert "data" not in RpcError(Fault.INVALID_PARAMS, "No.").to_json()
    assert RpcError(Fault.UNSUPPORTED_VERSION, "No.", {"a": 1}).to_json()["data"] == {"a": 1}
