"""Requests to the app's HTTP API, and its answers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from .errors import CommandError, TryAgainError, UsageError
from .problems import answer_error, parsed
from .target import Target
from .terminal_text import one_line

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 250.0
"""Azure cuts an answer after about 230 s."""
PAGE_ITEMS = 100
MAX_CONNECTIONS = 32
MAX_REASON_CHARS = 200

JsonObject = dict[str, Any]
Query = Mapping[str, str | int | bool | None]


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    data: JsonObject


def new_idempotency_key() -> str:
    """A key for one action."""
    return f"aos-{uuid.uuid4().hex}"


def part(text: str) -> str:
    """An id as one segment of a path.

    Raises:
        UsageError: It would lead to another address.
    """
    if text in {"", ".", ".."}:
        raise UsageError("an id is missing")
    return quote(text, safe="")


class Api:
    """A connection to one app, which several threads may use."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @cached_property
    def _http(self) -> httpx.Client:
        import httpx

        return httpx.Client(
            base_url=f"{self.target.url}/api/",
            headers=self.target.headers(),
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
        )

    def get(self, path: str, query: Query | None = None) -> JsonObject:
        """The JSON object at an address."""
        return _object(self.request("GET", path, query=query))

    def post(
        self, path: str, body: JsonObject, *, key: str | None = None, query: Query | None = None
    ) -> JsonObject:
        """Send an action once, however often it is repeated with the key; returns the answer."""
        key = key or new_idempotency_key()
        return _object(self.request("POST", path, body=body, key=key, query=query))

    def request(
        self,
        method: str,
        path: str,
        *,
        body: JsonObject | None = None,
        query: Query | None = None,
        key: str | None = None,
        accept: str | None = None,
    ) -> httpx.Response:
        """Send a request; returns an answer that is a success.

        Raises:
            CommandError: The app refused it, or cannot be reached.
        """
        with self._failures(key):
            answer = self._http.request(
                method, path, json=body, params=self._query(query), headers=_headers(key, accept)
            )
        if answer.is_success:
            return answer
        raise answer_error(answer)

    def readiness(self) -> JsonObject:
        """The report of the app's own checks, which is a problem document if one failed.

        Raises:
            CommandError: There is no report.
        """
        with self._failures(None):
            answer = self._http.get("health/ready", headers=_headers(None, None))
        report = parsed(answer)
        if report is None or "checks" not in report:
            raise answer_error(answer)
        return report

    def pages(self, path: str, query: Query | None, limit: int) -> Iterator[JsonObject]:
        """The first items of a list, read by pages."""
        cursor: str | None = None
        while limit > 0:
            size = min(limit, PAGE_ITEMS)
            page = self.get(path, {**(query or {}), "limit": size, "cursor": cursor})
            items = cast(list[JsonObject], page.get("data", []))
            yield from items[:size]
            limit -= len(items)
            cursor = cast(str | None, page.get("next_cursor"))
            if not cursor:
                return

    def stream(
        self, path: str, body: JsonObject, *, key: str, query: Query | None = None
    ) -> Iterator[Event]:
        """Send a message and yield the events of its turn.

        Raises:
            CommandError: As `request`.
        """
        headers = _headers(key, "text/event-stream")
        with (
            self._failures(key),
            self._http.stream(
                "POST", path, json=body, params=self._query(query), headers=headers
            ) as answer,
        ):
            if not answer.is_success:
                answer.read()
                raise answer_error(answer)
            yield from events(answer.iter_bytes())

    def clock_skew(self) -> float:
        """Seconds by which the clock here is ahead of the app's."""
        from datetime import UTC, datetime
        from email.utils import parsedate_to_datetime

        stated = self.request("GET", "health").headers.get("date")
        now = datetime.now(UTC)
        return (now - parsedate_to_datetime(stated)).total_seconds() if stated else 0.0

    def close(self) -> None:
        """Close the connections."""
        if "_http" in self.__dict__:
            self._http.close()

    def _query(self, query: Query | None) -> dict[str, str | int]:
        given = {**(query or {}), "owner": self.target.owner}
        values = {name: value for name, value in given.items() if value is not None}
        return {n: str(v).lower() if isinstance(v, bool) else v for n, v in values.items()}

    @contextmanager
    def _failures(self, key: str | None) -> Generator[None]:
        """Turn failures of the connection into errors that say what to do."""
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise TryAgainError(
                f"{self.target.url} cannot be reached: {one_line(str(error))[:MAX_REASON_CHARS]}",
                advice="Is the app running, and the address right? aos doctor",
            ) from None
        except httpx.TransportError as error:
            advice = f"Run it again with: --idempotency-key {key}" if key else ""
            raise TryAgainError(
                f"the connection broke before the answer: {type(error).__name__}", advice=advice
            ) from None
        except httpx.InvalidURL:
            raise CommandError(f"{self.target.url} is not an address") from None


def events(chunks: Iterator[bytes]) -> Iterator[Event]:
    """The events of a stream, which may be cut anywhere into chunks."""
    name, data = "", list[bytes]()
    for line in _lines(chunks):
        if line.startswith(b"event:"):
            name = line[6:].strip().decode("utf-8", "replace")
        elif line.startswith(b"data:"):
            data.append(line[5:])
        elif not line and data:
            yield Event(name, _parsed(b"\n".join(data)))
            name, data = "", []


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines that end with a line feed; other characters, such as U+2028, end none."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in lines)


def _parsed(data: bytes) -> JsonObject:
    try:
        document: object = json.loads(data)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CommandError("the app sent an event that is not JSON")
    return cast(JsonObject, document)


def _headers(key: str | None, accept: str | None) -> dict[str, str]:
    headers = {"Accept": accept or "application/json"}
    return {**headers, "Idempotency-Key": key} if key else headers


def _object(answer: httpx.Response) -> JsonObject:
    document = parsed(answer)
    if document is None:
        raise answer_error(answer)
    return document
