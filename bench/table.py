"""A Table Storage that answers at once: rows in memory, behind its real wire.

`python -m bench.table` prints its port. It does what a turn needs: single writes, entity-group
transactions, conditions by ETag, and reading one row; a query finds nothing. A transaction that has
a row twice is refused, but not undone. `GET /count` returns the number of requests so far.
https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from typing import Any
from urllib.parse import unquote

from pydantic_core import from_json

from .http_server import HttpConnection, serve

_IF_MATCH = re.compile(rb"^if-match: *(.*?)\r?$", re.IGNORECASE | re.MULTILINE)
_METHOD = re.compile(rb"^x-http-method: *(\w+)", re.IGNORECASE | re.MULTILINE)

Row = dict[str, Any]

_STATUS_LINES = {each: f"HTTP/1.1 {each} {each.phrase}\r\n".encode() for each in HTTPStatus}


@dataclass(slots=True)
class _Answer:
    status: HTTPStatus
    etag: str = ""
    body: bytes = b""

    def to_bytes(self) -> bytes:
        """The answer as HTTP/1.1."""
        etag = b"ETag: %b\r\n" % self.etag.encode() if self.etag else b""
        return b"%b%b%b%d\r\n\r\n%b" % (
            _STATUS_LINES[self.status],
            etag,
            b"Content-Type: application/json\r\nContent-Length: ",
            len(self.body),
            self.body,
        )


@dataclass(slots=True)
class _Rows:
    """The rows of all tables, by their address."""

    rows: dict[str, tuple[str, Row]] = field(default_factory=dict[str, tuple[str, Row]])
    requests: int = 0
    _etags: count[int] = field(default_factory=lambda: count(1))
    _written: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    """The addresses of the rows that were written last, those of a transaction among them."""

    def handle(self, head: bytes, body: bytes) -> _Answer:
        """Answer one request, or one part of a transaction."""
        method, target = head.decode().split(" ", 2)[:2]
        address = _address(target)
        if override := _METHOD.search(head):
            method = override[1].decode()
        if method == "GET":
            return self._read(address)
        row: Row = from_json(body) if body else {}
        if method == "POST":  # an insert names the table only
            address += f"(PartitionKey='{row['PartitionKey']}',RowKey='{row['RowKey']}')"
        return self._write(method, address, _IF_MATCH.search(head), row)

    def _read(self, address: str) -> _Answer:
        if "RowKey=" not in address:
            return _Answer(HTTPStatus.OK, body=b'{"value":[]}')
        if address not in self.rows:
            return _Answer(HTTPStatus.NOT_FOUND, body=_error("ResourceNotFound"))
        etag, row = self.rows[address]
        return _Answer(HTTPStatus.OK, etag, json.dumps({"odata.etag": etag, **row}).encode())

    def _write(
        self, method: str, address: str, condition: re.Match[bytes] | None, row: Row
    ) -> _Answer:
        etag, kept = self.rows.get(address, ("", {}))
        self._written.append(address)
        if condition and condition[1] not in {b"*", etag.encode()}:
            return _Answer(
                HTTPStatus.PRECONDITION_FAILED, body=_error("UpdateConditionNotSatisfied")
            )
        if method == "DELETE":
            self.rows.pop(address, None)
            return _Answer(HTTPStatus.NO_CONTENT)
        etag = f"W/\"datetime'{next(self._etags)}'\""
        self.rows[address] = etag, {**kept, **row} if method in {"MERGE", "PATCH"} else row
        return _Answer(HTTPStatus.NO_CONTENT, etag)

    def transaction(self, body: bytes) -> bytes:
        """Do all operations of a transaction."""
        boundary = body.partition(b"boundary=")[2].split(None, 1)[0].strip(b'"')
        answers: list[_Answer] = []
        self._written.clear()
        for part in body.split(b"--" + boundary)[1:-1]:
            _, _, request = part.lstrip().partition(b"\r\n\r\n")
            inner_head, _, content = request.partition(b"\r\n\r\n")
            answers.append(self.handle(inner_head, content.strip()))
        if len(set(self._written)) < len(self._written):
            answers = [_Answer(HTTPStatus.BAD_REQUEST, body=_error("InvalidDuplicateRow"))]
        failed = [each for each in answers if each.status >= HTTPStatus.BAD_REQUEST]
        return _multipart(failed[:1] or answers)


def _address(target: str) -> str:
    """The path of a target, which is absolute in a transaction."""
    path = target.partition("?")[0]
    if not path.startswith("/"):
        path = "/" + path.split("/", 3)[3]
    return unquote(path) if "%" in path else path


def _error(code: str) -> bytes:
    return json.dumps({"odata.error": {"code": code, "message": {"value": code}}}).encode()


def _multipart(answers: list[_Answer]) -> bytes:
    part = (
        b"--changes\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    )
    inner = b"".join(part + answer.to_bytes() + b"\r\n" for answer in answers)
    body = (
        b"--batch\r\nContent-Type: multipart/mixed; boundary=changes\r\n\r\n"
        b"%b--changes--\r\n--batch--\r\n" % inner
    )
    return (
        b"HTTP/1.1 202 Accepted\r\nContent-Type: multipart/mixed; boundary=batch\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


_rows = _Rows()


class Table(HttpConnection):
    """A connection to the tables."""

    def answer(self, head: bytes, body: bytes) -> None:
        """See `HttpConnection.answer`."""
        target = head.split(b" ", 2)[1]
        if target == b"/count":
            self.write(_Answer(HTTPStatus.OK, body=str(_rows.requests).encode()).to_bytes())
            return
        _rows.requests += 1
        if target.endswith(b"/$batch"):
            self.write(_rows.transaction(body))
        else:
            self.write(_rows.handle(head, body).to_bytes())


if __name__ == "__main__":
    asyncio.run(serve(Table))
