"""Calls Microsoft Graph, with retries, because new objects take minutes to replicate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

GRAPH_URL = "https://graph.microsoft.com/v1.0"

FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 30.0
REQUEST_SECONDS = 60.0

_NOT_DONE = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
"""The call had no effect, so it may be repeated even if it creates something."""

_BUSY = _NOT_DONE | {
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_NOT_YET = ("does not exist", "DoesNotExist", "not found", "NotFound", "does not reference a valid")
"""How Graph reports that an object in a request is not replicated yet."""

_REFUSED = (
    "Signed in, but not allowed to. Agent identities need the role Agent ID Developer or Agent ID "
    "Administrator, and a token without Directory.AccessAsUser.All: a person's Azure CLI token has "
    "that permission and is refused, so people sign in with --sign-in device-code."
)

_UNKNOWN = "It may have been done or not: run the command again, which looks first."

Json = dict[str, Any]


class GraphError(Exception):
    """A call that failed for good; the message says what to do."""


@dataclass
class Patience:
    """How long to wait for the directory, and the function that waits."""

    seconds: float = 300.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


class Graph:
    """A Graph endpoint, such as ``https://graph.microsoft.com/v1.0``."""

    def __init__(self, url: str, token: Callable[[], str], patience: Patience) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=REQUEST_SECONDS)
        self._token = token
        self._patience = patience

    def __enter__(self) -> Graph:
        """Use the connection until the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._client.close()

    def find(self, path: str) -> Json | None:
        """An object, or None where there is none.

        Raises:
            GraphError: if Graph refuses the call or does not recover.
        """
        response = self._send("GET", path)
        return None if response.status_code == HTTPStatus.NOT_FOUND else _body(response)

    def list(self, path: str, params: Mapping[str, str] | None = None) -> Iterator[Json]:
        """The objects of a collection, page after page.

        Raises:
            GraphError: as for `find`.
        """
        page = _body(self._send("GET", path, params=params))
        while True:
            yield from page["value"]
            following = page.get("@odata.nextLink")
            if not following:
                return
            page = _body(self._send("GET", following))

    def change(self, method: str, path: str, body: Json | None = None) -> Json:
        """Create, change or delete; waits for the objects in the request.

        Raises:
            GraphError: as for `find`; also where it is not known whether an object was made.
        """
        response = self._send(method, path, json=body)
        if method == "DELETE" and response.status_code == HTTPStatus.NOT_FOUND:
            return {}
        return _body(response)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        deadline = self._patience.clock() + self._patience.seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            response, failure = self._try(method, path, options)
            if response is not None and not _is_passing(response):
                return response
            wait = max(pause, _asked_pause(response))
            if self._patience.clock() + wait > deadline:
                raise GraphError(f"{method} {path} still fails: {failure}. Run the command again.")
            self._patience.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _try(
        self, method: str, path: str, options: dict[str, Any]
    ) -> tuple[httpx.Response | None, str]:
        """The answer, if any, and a possible error."""
        headers = {"Authorization": f"Bearer {self._token()}", "OData-Version": "4.0"}
        try:
            response = self._client.request(method, path, headers=headers, **options)
        except httpx.TransportError as error:
            if method == "POST":
                raise GraphError(f"{method} {path} was cut: {error}. {_UNKNOWN}") from error
            return None, str(error) or type(error).__name__
        return response, _reason(response) if response.is_error else ""


def _is_passing(response: httpx.Response) -> bool:
    """Whether the same call may be repeated and may succeed later."""
    creates = response.request.method == "POST"
    if response.status_code in (_NOT_DONE if creates else _BUSY):
        return True
    return response.request.method in {"POST", "PATCH"} and _not_yet(response)


def _asked_pause(response: httpx.Response | None) -> float:
    asked = response.headers.get("Retry-After", "") if response else ""
    return float(asked) if asked.isdecimal() else 0


def _not_yet(response: httpx.Response) -> bool:
    if response.status_code not in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
        return False
    return any(sign in response.text for sign in _NOT_YET)


def _body(response: httpx.Response) -> Json:
    if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise GraphError(f"{_reason(response)}. {_REFUSED}")
    if response.is_error:
        request = response.request
        unknown = f". {_UNKNOWN}" if response.is_server_error else ""
        raise GraphError(
            f"{request.method} {request.url.path} failed: {_reason(response)}{unknown}"
        )
    return response.json() if response.content else {}


def _reason(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
        said = f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        said = response.text[:200]
    request_id = response.headers.get("request-id", "none given")
    return f"HTTP {response.status_code}, {said.rstrip('.')} (request id {request_id})"
