"""Rows as Table Storage reads and writes them, in bytes.

https://learn.microsoft.com/rest/api/storageservices/payload-format-for-table-service-operations,
https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions and
https://learn.microsoft.com/rest/api/storageservices/operations-on-entities. Types are written as
azure-data-tables writes them.
"""

from __future__ import annotations

import math
import re
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from ..text import parse_json, to_json_bytes
from .service import Answer
from .signing import StorageRequest
from .table import Change, Operation, Row, Value

ANY_VERSION = "*"

UNIQUE = uuid.uuid4().hex
"""Part of the boundaries of this process's transactions, so that no value can contain one."""

_PLAIN_IN_PATHS = "!$&'()*,:;=@"
"""Characters of a path that the HTTP library does not leave encoded. The signature covers the path
as it is sent, so they are not encoded here either."""

_ACCEPT = {"Accept": "application/json;odata=nometadata", "DataServiceVersion": "3.0"}
_SEND = {**_ACCEPT, "Content-Type": "application/json"}
_READ = {**_ACCEPT, "Accept": "application/json;odata=minimalmetadata"}
_INSERT = {**_SEND, "Prefer": "return-no-content"}

_METHODS = {
    Operation.INSERT: "POST",
    Operation.UPSERT: "PUT",
    Operation.REPLACE: "PUT",
    Operation.MERGE: "PATCH",
    Operation.DELETE: "DELETE",
}

_PART = re.compile(rb"\r?\nHTTP/1\.\d (\d{3})[^\r\n]*((?:\r?\n[^\r\n]+)*)\r?\n\r?\n")
"""The status line and the headers of one answer; a body follows."""

_ETAG = re.compile(rb"\netag:[ \t]*([^\r\n]*)", re.IGNORECASE)


def read(table: str, partition: str, row_key: str) -> StorageRequest:
    """The request for one row."""
    return StorageRequest("GET", _path(table, partition, row_key), _READ)


def write(table: str, partition: str, change: Change) -> StorageRequest:
    """The request for one change."""
    method = _METHODS[change.action]
    if change.action is Operation.INSERT:
        return StorageRequest(method, f"/{table}", _INSERT, _entity(partition, change))
    path = _path(table, partition, change.row_key)
    if change.action is Operation.DELETE:
        return StorageRequest(method, path, {**_ACCEPT, "If-Match": change.etag or ANY_VERSION})
    headers = _SEND
    if change.action is not Operation.UPSERT:
        headers = {**_SEND, "If-Match": change.etag or ANY_VERSION}
    return StorageRequest(method, path, headers, _entity(partition, change))


def transaction(
    url: str, table: str, partition: str, changes: Sequence[Change], unique: str = UNIQUE
) -> StorageRequest:
    """The request for changes that are applied together, to a service at ``url``."""
    batch, changeset = f"batch_{unique}", f"changeset_{unique}"
    start = f"--{batch}\r\nContent-Type: multipart/mixed; boundary={changeset}\r\n\r\n"
    pieces = [start.encode()]
    for change in changes:
        part = write(table, partition, change)
        head = (
            f"--{changeset}\r\nContent-Type: application/http\r\n"
            f"Content-Transfer-Encoding: binary\r\n\r\n"
            f"{part.method} {url}{part.path} HTTP/1.1\r\n"
        )
        for name, text in part.headers.items():
            head += f"{name}: {text}\r\n"
        if part.body:
            head += f"Content-Length: {len(part.body)}\r\n"
        pieces += (head.encode(), b"\r\n", part.body, b"\r\n")
    pieces.append(f"--{changeset}--\r\n--{batch}--\r\n".encode())
    headers = {**_ACCEPT, "Content-Type": f"multipart/mixed; boundary={batch}"}
    return StorageRequest("POST", "/$batch", headers, b"".join(pieces))


def answers(body: bytes) -> list[Answer]:
    """The answers to the parts of a transaction; a refused one has a single answer."""
    found = list(_PART.finditer(body))
    ends = [part.start() for part in found[1:]] + [len(body)]
    return [
        Answer.of(int(part[1]), _etag(part[2]), body[part.end() : end])
        for part, end in zip(found, ends, strict=False)
    ]


def _etag(headers: bytes) -> str:
    found = _ETAG.search(headers)
    return found[1].decode() if found else ""


def row(answer: Answer) -> Row:
    """The row in an answer.

    Raises:
        ValueError, LookupError: if it contains none.
    """
    entity: dict[str, Any] = parse_json(answer.body)
    values = {
        name: _DECODERS.get(kind, _same)(value)
        if (kind := entity.get(f"{name}@odata.type"))
        else value
        for name, value in entity.items()
        if name not in _SYSTEM and "odata." not in name
    }
    return Row(str(entity["RowKey"]), answer.etag or str(entity["odata.etag"]), values)


def _path(table: str, partition: str, row_key: str) -> str:
    return f"/{table}(PartitionKey='{_quoted(partition)}',RowKey='{_quoted(row_key)}')"


def _quoted(key: str) -> str:
    return quote(key.replace("'", "''"), _PLAIN_IN_PATHS, errors="replace")


def _entity(partition: str, change: Change) -> bytes:
    properties: dict[str, Any] = {"PartitionKey": partition, "RowKey": change.row_key}
    for name, value in change.values.items():
        if value is None:
            continue
        kind, properties[name] = _encoded(value)
        if kind:
            properties[f"{name}@odata.type"] = kind
    return _escaped(to_json_bytes(properties))


def _escaped(body: bytes) -> bytes:
    """JSON without the two characters that end lines in JavaScript.

    Azurite looks for the JSON of a transaction line by line, and answers 500 to one that has them.
    """
    return body.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")


def _encoded(value: Value) -> tuple[str, Any]:
    """The type of a value, empty where JSON itself says it, and its form in JSON."""
    if isinstance(value, _PLAIN):
        return "", value
    if isinstance(value, int):
        return "Edm.Int64", str(value)
    if isinstance(value, float):
        return "Edm.Double", value if math.isfinite(value) else _NOT_FINITE[str(value)]
    if isinstance(value, datetime):
        moment = value.astimezone(UTC).replace(tzinfo=None)
        return "Edm.DateTime", moment.isoformat(timespec="microseconds") + "Z"
    return "Edm.Binary", b64encode(value).decode()


def _same(value: Any) -> Value:
    return value


_PLAIN = (str, bool)
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_SYSTEM = {"PartitionKey", "RowKey", "Timestamp"}
_DECODERS: Mapping[str, Callable[[Any], Value]] = {
    "Edm.Int64": int,
    "Edm.Double": float,
    "Edm.DateTime": datetime.fromisoformat,
    "Edm.Binary": b64decode,
}
"""For values whose type JSON does not say."""
