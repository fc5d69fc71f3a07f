"""Webhooks: a signed POST to an address that a caller chose.

Headers and signature are those of Standard Webhooks
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from yarl import URL

from ...config import SECRET_PREFIX, CallbackSettings, names_in
from .addresses import public_socket

if TYPE_CHECKING:  # aiohttp is loaded when the first connection needs it
    import aiohttp

MAX_AT_ONCE = 4
"""Concurrent requests per host and process, so that a slow receiver does not block others."""

LOOPBACK = "127.0.0.1"

MAX_LINE_BYTES = 8_190
"""The most bytes of a status line or header of a receiver; the body is not read."""

MAX_REASON_CHARS = 300
MAX_RETRY_AFTER_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Callback:
    """The id and body of a callback."""

    delivery_id: str
    """The same in every attempt, so that the receiver can detect duplicates."""
    body: bytes


class CallbackError(Exception):
    """The receiver did not accept a callback."""

    def __init__(self, reason: str, *, retry_after: float = 0.0, is_final: bool = False) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """The receiver's `Retry-After`, in seconds."""
        self.is_final = is_final
        """Whether the callback must not be tried again."""


class Webhooks:
    """Sends callbacks, only to the public internet."""

    def __init__(self, settings: CallbackSettings) -> None:
        self._secrets = names_in(settings.callback_secret)
        self._seconds = settings.callback_timeout
        self._allow_loopback = settings.loopback_callbacks
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._running: Counter[str] = Counter()

    def is_busy(self, url: str) -> bool:
        """Whether `MAX_AT_ONCE` callbacks to the host of an address are running."""
        return self._running[_place(url)] >= MAX_AT_ONCE

    async def post(self, url: str, callback: Callback, now: datetime) -> None:
        """Make one attempt.

        Raises:
            CallbackError: if the response was not 2xx, or not in time.
        """
        import aiohttp
        from aiohttp.http_exceptions import HttpProcessingError

        place = _place(url)
        self._running[place] += 1
        try:
            await self._post(URL(url), callback, now)
        except TimeoutError as error:
            raise CallbackError(f"no answer within {self._seconds:g} s") from error
        except (aiohttp.ClientResponseError, HttpProcessingError) as error:
            raise CallbackError("no valid HTTP response") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CallbackError(f"no answer: {str(error)[:MAX_REASON_CHARS]}") from error
        finally:
            self._running[place] -= 1
            self._running += Counter[str]()  # drops zero counts

    async def _post(self, url: URL, callback: Callback, now: datetime) -> None:
        timestamp = int(now.timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "agent-operating-system-foundry",
            "webhook-id": callback.delivery_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": self._signatures(url, callback, timestamp),
        }
        async with self._session(url).post(
            url, data=callback.body, headers=headers, allow_redirects=False
        ) as answer:
            _check(answer.status, answer.headers.get("Retry-After", ""))

    def _signatures(self, url: URL, callback: Callback, timestamp: int) -> str:
        signed = f"{callback.delivery_id}.{timestamp}.".encode() + callback.body
        keys = [_key(receiver_secret(secret, url.raw_host or "")) for secret in self._secrets]
        digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
        return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)

    def _session(self, url: URL) -> aiohttp.ClientSession:
        """The session for public addresses, or, in tests, for the loopback address."""
        import aiohttp

        local = self._allow_loopback and url.scheme == "http" and url.host == LOOPBACK
        if local not in self._sessions:
            connector = aiohttp.TCPConnector(
                force_close=True,  # every request resolves, checks and connects again
                use_dns_cache=False,
                socket_factory=None if local else public_socket,
            )
            self._sessions[local] = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                max_line_size=MAX_LINE_BYTES,
                max_field_size=MAX_LINE_BYTES,
            )
        return self._sessions[local]

    async def aclose(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()


def _check(status: int, retry_after: str) -> None:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    is_number = retry_after.isdecimal() and len(retry_after) <= MAX_RETRY_AFTER_DIGITS
    seconds = float(retry_after) if is_number else 0.0
    is_final = status == HTTPStatus.GONE
    raise CallbackError(f"answered {status}", retry_after=seconds, is_final=is_final)


def receiver_secret(secret: str, host: str) -> str:
    """The secret that signs callbacks to a host, derived from one in `CALLBACK_SECRET`.

    A receiver cannot derive the secrets of other hosts from its own.
    """
    digest = hmac.digest(_key(secret), host.lower().encode(), hashlib.sha256)
    return SECRET_PREFIX + base64.b64encode(digest).decode()


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX))


def _place(url: str) -> str:
    parsed = URL(url)
    return f"{parsed.host}:{parsed.port}"
