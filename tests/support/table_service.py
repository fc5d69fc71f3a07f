"""Table Storage in memory, behind its wire: an HTTP transport that applies what it receives."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import unquote

import httpx

from shared.state.azure_table import TABLE_STORAGE
from shared.state.service import Endpoint, StorageService
from shared.state.signing import SharedKey, table_text

KEY = "a2V5" * 22
URL = "https://account.table.core.windows.net"

_ROW_KEY = re.compile(r"RowKey='((?:[^']|'')*)'\)$")


@dataclass
class RefusedError(Exception):
    """An answer of the service that is no success."""

    status: int
    code: str = ""
    in_body: bool = True

    def response(self) -> httpx.Response:
        error = {"odata.error": {"code": self.code, "message": {"lang": "en", "value": "No."}}}
        body = json.dumps(error).encode() if self.in_body else b""
        headers = {} if self.in_body or not self.code else {"x-ms-error-code": self.code}
        return httpx.Response(self.status, headers=headers, content=body)


@dataclass
class StoredRow:
    etag: str
    properties: dict[str, Any]


Fault = Callable[["TableService"], Exception]


@dataclass
class TableService(httpx.AsyncBaseTransport):
    """One table. Each request is noted by what it does."""

    rows: dict[str, StoredRow] = field(default_factory=dict[str, StoredRow])
    exists: bool = True
    requests: list[str] = field(default_factory=list[str])
    before: list[Exception] = field(default_factory=list[Exception])
    """Raised by the next writes, which then do not happen."""
    after: list[Fault] = field(default_factory=list[Fault])
    """What the next writes do once they have happened; the answer is lost."""
    before_reads: list[Exception] = field(default_factory=list[Exception])
    closed: int = 0
    _versions: Any = field(default_factory=lambda: count(1))

    def opened(self, observe: Callable[[str | None], None] | None = None) -> StorageService:
        """The service that sends to it."""
        endpoint = Endpoint(URL, SharedKey("account", KEY, table_text))
        return StorageService(TABLE_STORAGE, endpoint, observe, http=self)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        try:
            if request.method == "GET":
                return self._read(path)
            return self._write(request, path)
        except RefusedError as refused:
            return refused.response()

    async def aclose(self) -> None:
        self.closed += 1

    def _read(self, path: str) -> httpx.Response:
        self.requests.append("get")
        if self.before_reads:
            raise self.before_reads.pop(0)
        row = self.rows.get(_row_key(path))
        if row is None:
            raise RefusedError(404, "ResourceNotFound")
        return httpx.Response(200, headers={"ETag": row.etag}, json=row.properties)

    def _write(self, request: httpx.Request, path: str) -> httpx.Response:
        is_batch = path.endswith("/$batch")
        parts = _parts(request.content) if is_batch else [_part(request, path)]
        self.requests.append("transaction" if is_batch else parts[0].action)
        if self.before:
            raise self.before.pop(0)
        if not self.exists:
            raise RefusedError(404, "TableNotFound")
        before = dict(self.rows)
        answers: list[httpx.Response] = []
        for part in parts:
            try:
                answers.append(self.apply(part))
            except RefusedError as refused:
                self.rows = before
                answers = [refused.response()]
                break
        if self.after:
            raise self.after.pop(0)(self)
        return _batch(answers) if is_batch else answers[0]

    def apply(self, part: Part) -> httpx.Response:
        """Apply one operation."""
        old = self.rows.get(part.row_key)
        if part.action == "create" and old is not None:
            raise RefusedError(409, "EntityAlreadyExists")
        if part.action not in {"create", "upsert"} and old is None:
            raise RefusedError(404, "ResourceNotFound")
        if old is not None and part.if_match not in {"", "*", old.etag}:
            raise RefusedError(412, "UpdateConditionNotSatisfied")
        if part.action == "delete":
            del self.rows[part.row_key]
            return httpx.Response(204)
        etag = f"v{next(self._versions)}"
        kept = old.properties if old is not None and part.merges else {}
        self.rows[part.row_key] = StoredRow(etag, {**kept, **part.properties})
        return httpx.Response(204, headers={"ETag": etag})


@dataclass
class Part:
    """One operation, read from its bytes."""

    action: str
    row_key: str
    if_match: str = ""
    merges: bool = False
    properties: dict[str, Any] = field(default_factory=dict[str, Any])


def _part(request: httpx.Request, path: str) -> Part:
    properties = json.loads(request.content) if request.content else {}
    row_key = properties["RowKey"] if request.method == "POST" else _row_key(path)
    if_match = request.headers.get("If-Match", "")
    changes = "update" if if_match else "upsert"
    action = {"POST": "create", "DELETE": "delete"}.get(request.method, changes)
    return Part(action, row_key, if_match, request.method == "PATCH", properties)


def _parts(body: bytes) -> list[Part]:
    boundary = re.search(rb"boundary=(changeset_\S+)", body)
    assert boundary
    parts: list[Part] = []
    for text in body.split(b"--" + boundary[1])[1:-1]:
        _, _, inner = text.partition(b"\r\n\r\n")
        head, _, content = inner.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, url, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines)
        request = httpx.Request(method, url, headers=headers, content=content.strip())
        parts.append(_part(request, request.url.raw_path.decode()))
    return parts


def _batch(answers: list[httpx.Response]) -> httpx.Response:
    """As documented.

    https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
    """
    parts = [
        f"--changes\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}\r\nContent-ID: {number}\r\n"
        f"DataServiceVersion: 3.0;\r\n"
        + "".join(
            f"{name}: {answer.headers[name]}\r\n" for name in ("ETag",) if name in answer.headers
        )
        + f"\r\n{answer.text}\r\n"
        for number, answer in enumerate(answers)
    ]
    body = (
        "--batch\r\nContent-Type: multipart/mixed; boundary=changes\r\n\r\n"
        + "".join(parts)
        + "--changes--\r\n--batch--\r\n"
    )
    kind = {"Content-Type": "multipart/mixed; boundary=batch"}
    return httpx.Response(202, headers=kind, content=body.encode())


def _row_key(path: str) -> str:
    found = _ROW_KEY.search(path)
    assert found, path
    return unquote(found[1].replace("''", "'"))
