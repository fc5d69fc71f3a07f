"""Each operation byte for byte, and answers as the service documents them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta, timezone

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from shared.state import table_wire
from shared.state.service import Answer
from shared.state.table import Change, Operation, Value

KEYS = ("own'er ü", "thread:1")
PATH = "/rows(PartitionKey='own''er%20%C3%BC',RowKey='thread:1')"
ACCEPT = {"Accept": "application/json;odata=nometadata", "DataServiceVersion": "3.0"}
SEND = ACCEPT | {"Content-Type": "application/json"}
BODY = '{"PartitionKey":"own\'er ü","RowKey":"thread:1","a":"b"}'.encode()
VALUES = {"a": "b", "none": None}


@pytest.mark.parametrize(
    ("change", "method", "path", "headers", "body"),
    [
        (
            Change(Operation.INSERT, "thread:1", VALUES),
            "POST",
            "/rows",
            SEND | {"Prefer": "return-no-content"},
            BODY,
        ),
        (Change(Operation.UPSERT, "thread:1", VALUES), "PUT", PATH, SEND, BODY),
        (
            Change(Operation.REPLACE, "thread:1", VALUES, 'W/"1"'),
            "PUT",
            PATH,
            SEND | {"If-Match": 'W/"1"'},
            BODY,
        ),
        (
            Change(Operation.MERGE, "thread:1", VALUES),
            "PATCH",
            PATH,
            SEND | {"If-Match": "*"},
            BODY,
        ),
        (
            Change(Operation.DELETE, "thread:1", etag='W/"1"'),
            "DELETE",
            PATH,
            ACCEPT | {"If-Match": 'W/"1"'},
            b"",
        ),
    ],
)
def test_a_change_is_one_request(
    change: Change, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    request = table_wire.write("rows", KEYS[0], change)
    assert (request.method, request.path, request.body) == (method, path, body)
    assert (request.headers, request.query) == (headers, {})


def test_a_read_asks_for_types() -> None:
    request = table_wire.read("rows", *KEYS)
    assert (request.method, request.path, request.body) == ("GET", PATH, b"")
    assert request.headers == ACCEPT | {"Accept": "application/json;odata=minimalmetadata"}


def test_changes_of_a_transaction_are_one_change_set() -> None:
    changes = [
        Change(Operation.INSERT, "thread:1", VALUES),
        Change(Operation.MERGE, "thread:1", VALUES, 'W/"1"'),
        Change(Operation.DELETE, "thread:1"),
    ]
    request = table_wire.transaction("https://host/acc", "rows", KEYS[0], changes, unique="u")
    assert (request.method, request.path) == ("POST", "/$batch")
    assert request.headers == ACCEPT | {"Content-Type": "multipart/mixed; boundary=batch_u"}
    part = b"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    accept = b"Accept: application/json;odata=nometadata\r\nDataServiceVersion: 3.0\r\n"
    kind, size = b"Content-Type: application/json\r\n", b"Content-Length: %d\r\n" % len(BODY)
    place = f"https://host/acc{PATH} HTTP/1.1\r\n".encode()
    assert request.body == (
        b"--batch_u\r\nContent-Type: multipart/mixed; boundary=changeset_u\r\n\r\n"
        b"--changeset_u\r\n%bPOST https://host/acc/rows HTTP/1.1\r\n%b%b"
        b"Prefer: return-no-content\r\n%b\r\n%b\r\n"
        b'--changeset_u\r\n%bPATCH %b%b%bIf-Match: W/"1"\r\n%b\r\n%b\r\n'
        b"--changeset_u\r\n%bDELETE %b%bIf-Match: *\r\n\r\n\r\n"
        b"--changeset_u--\r\n--batch_u--\r\n"
    ) % (part, accept, kind, size, BODY, part, place, accept, kind, size, BODY, part, place, accept)


def test_no_caller_can_guess_a_boundary() -> None:
    changes = [Change(Operation.INSERT, key) for key in "ab"]
    headers = table_wire.transaction("u", "rows", "p", changes).headers
    assert re.fullmatch(r"multipart/mixed; boundary=batch_[0-9a-f]{32}", headers["Content-Type"])
    assert table_wire.UNIQUE in headers["Content-Type"]


EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "json"),
    [
        ("x\ud800é\u20ac\U0001f600", '"v":"x?é€😀"'),
        ('"\\\n', '"v":"\\"\\\\\\n"'),
        (True, '"v":true'),
        (5, '"v":"5","v@odata.type":"Edm.Int64"'),
        (-(2**62), '"v":"-4611686018427387904","v@odata.type":"Edm.Int64"'),
        (1.0, '"v":1.0,"v@odata.type":"Edm.Double"'),
        (math.nan, '"v":"NaN","v@odata.type":"Edm.Double"'),
        (math.inf, '"v":"Infinity","v@odata.type":"Edm.Double"'),
        (-math.inf, '"v":"-Infinity","v@odata.type":"Edm.Double"'),
        (b"\x00\xff", '"v":"AP8=","v@odata.type":"Edm.Binary"'),
        (
            datetime(2026, 3, 1, 14, 30, 5, 7, tzinfo=EAST),
            '"v":"2026-03-01T12:30:05.000007Z","v@odata.type":"Edm.DateTime"',
        ),
        (None, None),
    ],
)
def test_a_value_is_written_with_its_type(value: Value | None, json: str | None) -> None:
    request = table_wire.write("rows", "p", Change(Operation.INSERT, "r", {"v": value}))
    more = f",{json}" if json else ""
    assert request.body.decode() == f'{{"PartitionKey":"p","RowKey":"r"{more}}}'


@given(st.text(), st.text())
def test_the_path_is_sent_as_it_is_signed(partition: str, row_key: str) -> None:
    """Neither httpx nor aiohttp (yarl) changes it, whatever the keys hold."""
    path = table_wire.read("rows", partition, row_key).path
    url = "https://account.table.core.windows.net" + path
    assert str(httpx.URL(url)) == str(URL(url)) == url
    assert URL(url).raw_path == path


ETAG = "W/\"datetime'2026-11-30T00%3A46%3A56.13Z'\""
PARTS = (
    "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n"
    "--changesetresponse_1\r\nContent-Type: application/http\r\n"
    "Content-Transfer-Encoding: binary\r\n\r\n{}--changesetresponse_1--\r\n--batchresponse_1--\r\n"
)
NEXT = (
    "\r\n--changesetresponse_1\r\nContent-Type: application/http\r\n"
    "Content-Transfer-Encoding: binary\r\n\r\n"
)
WRITTEN = (
    "HTTP/1.1 204 No Content\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\n"
    f"Preference-Applied: return-no-content\r\nDataServiceVersion: 3.0;\r\nETag: {ETAG}\r\n\r\n\r\n"
)
EXISTS = (
    "HTTP/1.1 409 Conflict\r\nContent-ID: 0\r\n"
    "Content-Type: application/json;odata=minimalmetadata;streaming=true;charset=utf-8\r\n\r\n"
    '{"odata.error":{"code":"EntityAlreadyExists","message":{"lang":"en-US","value":'
    '"0:The specified entity already exists.\\nRequestId:1\\nHTTP/1.1 204 is no status"}}}\r\n'
)


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_each_part_of_an_answer_is_read(line_end: str) -> None:
    deleted = WRITTEN.replace(f"ETag: {ETAG}\r\n", "")
    body = PARTS.format(WRITTEN + NEXT + deleted).replace("\r\n", line_end)
    first, second = table_wire.answers(body.encode())
    assert (first.status, first.etag, second.status, second.etag) == (204, ETAG, 204, "")


def test_a_refused_part_says_why() -> None:
    (answer,) = table_wire.answers(PARTS.format(EXISTS).encode())
    assert (answer.status, answer.code) == (409, "EntityAlreadyExists")
    assert answer.reason.startswith("0:The specified entity already exists.")


@pytest.mark.parametrize("body", [b"", b"garbage", b"HTTP/1.1 204 No Content\r\n\r\n"])
def test_what_is_no_answer_has_no_parts(body: bytes) -> None:
    assert table_wire.answers(body) == []


def test_a_row_is_read_with_its_types() -> None:
    body = (
        b'{"odata.metadata":"https://a/$metadata#rows/@Element","odata.etag":"W/1",'
        b'"PartitionKey":"p","RowKey":"r","Timestamp":"2026-11-30T00:46:56.1311140Z",'
        b'"text":"a","yes":true,"small":7,"half":0.5,'
        b'"big@odata.type":"Edm.Int64","big":"4611686018427387904",'
        b'"whole@odata.type":"Edm.Double","whole":5,'
        b'"odd@odata.type":"Edm.Double","odd":"-Infinity",'
        b'"at@odata.type":"Edm.DateTime","at":"2026-03-01T12:30:05.0000071Z",'
        b'"data@odata.type":"Edm.Binary","data":"AP8=",'
        b'"id@odata.type":"Edm.Guid","id":"c9da6455-213d-42c9-9a79-3e9149a57833"}'
    )
    row = table_wire.row(Answer(200, "", body))
    assert (row.row_key, row.etag) == ("r", "W/1")
    assert row.values == {
        "text": "a",
        "yes": True,
        "small": 7,
        "half": 0.5,
        "big": 2**62,
        "whole": 5.0,
        "odd": -math.inf,
        "at": datetime(2026, 3, 1, 12, 30, 5, 7, tzinfo=UTC),
        "data": b"\x00\xff",
        "id": "c9da6455-213d-42c9-9a79-3e9149a57833",
    }
    assert table_wire.row(Answer(200, ETAG, body)).etag == ETAG
