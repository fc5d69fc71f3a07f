"""JSON-RPC messages: reading a request's, and writing the answers.

https://modelcontextprotocol.io/specification/2026-07-28/basic
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any, cast

from ..documents import JsonObject
from ..http.answers import Answer
from ..text import parse_json, to_json_bytes

JSON = "application/json"

MAX_ID_CHARS = 512
"""Of the ids that a client gives to requests and progress, which answers repeat."""

Id = str | int


class Fault(Enum):
    """What is wrong with a message: the code, and the HTTP status beside it."""

    PARSE_ERROR = -32700, HTTPStatus.BAD_REQUEST
    INVALID_REQUEST = -32600, HTTPStatus.BAD_REQUEST
    METHOD_NOT_FOUND = -32601, HTTPStatus.NOT_FOUND
    INVALID_PARAMS = -32602, HTTPStatus.BAD_REQUEST
    HEADER_MISMATCH = -32020, HTTPStatus.BAD_REQUEST
    UNSUPPORTED_VERSION = -32022, HTTPStatus.BAD_REQUEST

    def __init__(self, code: int, status: HTTPStatus) -> None:
        self.code = code
        self.status = status


class RpcError(Exception):
    """A message that the protocol does not allow, or that asks for what there is not."""

    def __init__(
        self,
        fault: Fault,
        message: str,
        data: JsonObject | None = None,
        request_id: Id | None = None,
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.data = data
        self.request_id = request_id
        """The id in a message that is not valid; None if it has none."""

    def to_json(self) -> JsonObject:
        """The member `error` of an answer."""
        error: JsonObject = {"code": self.fault.code, "message": str(self)}
        return error if self.data is None else {**error, "data": self.data}


@dataclass(frozen=True, slots=True)
class Message:
    """A request, or a notification, which has no id and gets no answer."""

    method: str
    id: Id | None = None
    params: JsonObject = field(default_factory=dict[str, Any])

    @property
    def meta(self) -> JsonObject:
        """What the client says about the request."""
        return member(self.params, "_meta")

    @property
    def progress_token(self) -> Id | None:
        """The client's id of the progress of the request; None if it wants no reports."""
        token = self.meta.get("progressToken")
        return token if is_id(token) else None


def read_message(content: bytes) -> Message:
    """Read the body of a request.

    Raises:
        RpcError: if it is not one request or notification.
    """
    try:
        document = parse_json(content)
    except ValueError as error:
        raise RpcError(Fault.PARSE_ERROR, f"The body is not JSON: {error}.") from None
    if isinstance(document, list):
        raise _invalid("Send one message a request: there are no batches.")
    if not isinstance(document, dict):
        raise _invalid("The body is not an object.")
    return _message(cast("JsonObject", document))


def _message(document: JsonObject) -> Message:
    id_ = document.get("id")
    if "id" in document and not is_id(id_):
        raise _invalid(f"id must be an integer, or a text of at most {MAX_ID_CHARS} characters.")
    if document.get("jsonrpc") != "2.0":
        raise _invalid("jsonrpc must be 2.0.", id_)
    method, params = document.get("method"), document.get("params")
    if not isinstance(method, str):
        raise _invalid("method must be a text; no answer is asked for.", id_)
    if not isinstance(params, dict | None):
        raise _invalid("params must be an object.", id_)
    return Message(method, id_, cast("JsonObject", params or {}))


def _invalid(reason: str, request_id: Id | None = None) -> RpcError:
    return RpcError(Fault.INVALID_REQUEST, reason, request_id=request_id)


def is_id(value: object) -> bool:
    """Whether a value may be the id of a request, or of its progress."""
    if isinstance(value, str):
        return len(value) <= MAX_ID_CHARS
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def member(document: Mapping[str, Any], name: str) -> JsonObject:
    """The object in a member of a document; empty if there is none.

    Raises:
        RpcError: if it is not an object.
    """
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RpcError(Fault.INVALID_PARAMS, f"{name} must be an object.")
    return cast("JsonObject", value)


def result_json(request: Message, result: Mapping[str, Any]) -> JsonObject:
    """The answer to a request."""
    return {"jsonrpc": "2.0", "id": request.id, "result": result}


def error_json(request_id: Id | None, error: RpcError) -> JsonObject:
    """The answer to a request that failed; without an id, if that could not be read."""
    about = {} if request_id is None else {"id": request_id}
    return {"jsonrpc": "2.0", **about, "error": error.to_json()}


def json_answer(
    document: JsonObject,
    status: int = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """A JSON-RPC answer as an HTTP response."""
    content = to_json_bytes(document)
    return Answer(None, status, dict(headers or {}), content=content, media_type=JSON)
