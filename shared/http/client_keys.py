"""Finds the client key in a request, and verifies it.

A verified key is used for `CACHE_SECONDS` without another read, so each instance refuses a revoked
key after that time. Only keys that the app issued are looked up, whatever callers send: guesses
cost no read, and cannot keep a valid key from being looked up.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from starlette.datastructures import Headers

from ..problems import Problem, ProblemError, ProblemKind
from ..state.client_keys import ClientKey, ClientKeys
from ..state.key_text import KEY_PREFIX, KeyText
from ..state.keys import SEAL
from ..state.lanes import Clock
from .shared_reads import SharedReads

log = logging.getLogger(__name__)

KEY_HEADERS = ("authorization", "api-key", "x-api-key", "x-functions-key")
"""The headers in which clients send keys; in the first one as a bearer."""

CACHE_SECONDS = 25.0
"""Counted from before the read: with the time of a request, a revoked key ends within 30 s."""

SEAL_SECONDS = 10.0
"""How long a read of the seal is cached. An instance that found no seal accepts the first key after
this time; the one that issued the key accepts it at once."""

MAX_CACHED_KEYS = 10_000

WRONG_KEY_SECONDS = 0.5
"""The pause before a wrong key is refused, which slows a client that tries keys one by one."""

MAX_PAUSED = 50
"""The most refusals that wait at once; a flood of wrong keys must not fill the process."""


def _unauthorized(detail: str) -> Problem:
    return Problem(ProblemKind.UNAUTHORIZED, detail)


NO_KEY = _unauthorized(
    "The caller is not authenticated. Send a client key of this app as "
    f"'Authorization: Bearer {KEY_PREFIX}...', or in the header api-key or x-api-key."
)
WRONG_KEY = _unauthorized("The client key is not valid. Check that it was copied completely.")
REVOKED_KEY = _unauthorized("The client key was revoked. Ask the operator for a new one.")
EXPIRED_KEY = _unauthorized("The client key has expired. Ask the operator for a new one.")
TWO_KEYS = _unauthorized(
    "The request has more than one credential: different client keys, or a client key and a "
    "Microsoft Entra token. Send one."
)


def key_in(headers: Headers) -> str | None:
    """The client key in a request's headers; None if there is none.

    Raises:
        ProblemError: 401 if there are different ones.
    """
    sent = (_credential(name, value) for name in KEY_HEADERS for value in headers.getlist(name))
    found = {text for text in sent if text.startswith(KEY_PREFIX)}
    if len(found) > 1:
        raise _refused(TWO_KEYS)
    return found.pop() if found else None


def _credential(header: str, value: str) -> str:
    if header != "authorization":
        return value.strip()
    scheme, _, token = value.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


@dataclass(frozen=True, slots=True)
class _Cached:
    key: ClientKey | None
    """None if there is no row with the id."""
    until: float


class KeyVerifier:
    """Verifies client keys. Belongs to one event loop."""

    def __init__(
        self,
        keys: ClientKeys,
        clock: Clock,
        *,
        timer: Callable[[], float] = monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._timer = timer
        self._sleep = sleep
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._reads = SharedReads[ClientKey | None]()
        self._forgotten = 0
        """Counts calls of `forget`: a read that one interrupts is not cached."""
        self._seal: bytes | None = None
        self._seal_until = 0.0
        self._seal_reads = SharedReads[bytes | None]()
        self._paused = 0

    async def verify(self, text: str) -> ClientKey:
        """The valid key with this text.

        Raises:
            ProblemError: 401 if it is wrong, revoked or expired.
            StorageUnavailableError: if it is not cached and cannot be read.
        """
        sent = KeyText.parse(text)
        key = await self._known(sent) if sent else None
        if sent is None or key is None or not hmac.compare_digest(key.digest, sent.digest):
            await self._pause()
            raise _refused(WRONG_KEY)
        if key.revoked_at is not None:
            raise _refused(REVOKED_KEY)
        if key.expires_at is not None and key.expires_at <= self._clock():
            raise _refused(EXPIRED_KEY)
        return key

    def forget(self, key_id: str) -> None:
        """Read a key again before its next use, because it was changed."""
        self._forgotten += 1
        self._cache.pop(key_id, None)
        self._reads.forget(key_id)
        if self._seal is None:  # the key may be the first one, for which the seal was made
            self._seal_until = 0.0
            self._seal_reads.forget(SEAL)

    async def _known(self, sent: KeyText) -> ClientKey | None:
        """The key with the id that was sent; None if there is none, or the app did not issue it."""
        cached = self._cache.get(sent.key_id)
        if cached is not None and self._timer() < cached.until:
            self._cache.move_to_end(sent.key_id)
            return cached.key
        if self._timer() >= self._seal_until:
            await self._seal_reads.get(SEAL, self._read_seal)
        if self._seal is None or not sent.is_sealed_by(self._seal):
            return None
        return await self._reads.get(sent.key_id, lambda: self._read(sent.key_id))

    async def _read_seal(self) -> bytes | None:
        started, forgotten = self._timer(), self._forgotten
        seal = await self._keys.seal()
        if seal is not None or forgotten == self._forgotten:
            self._seal, self._seal_until = seal, started + SEAL_SECONDS
        return seal

    async def _read(self, key_id: str) -> ClientKey | None:
        started, forgotten = self._timer(), self._forgotten
        key = await self._keys.find(key_id)
        if forgotten == self._forgotten:
            self._cache[key_id] = _Cached(key, started + CACHE_SECONDS)
            self._cache.move_to_end(key_id)
            if len(self._cache) > MAX_CACHED_KEYS:
                self._cache.popitem(last=False)
        return key

    async def _pause(self) -> None:
        if self._paused < MAX_PAUSED:
            self._paused += 1
            try:
                await self._sleep(WRONG_KEY_SECONDS)
            finally:
                self._paused -= 1

    async def aclose(self) -> None:
        """Cancel running reads."""
        await asyncio.gather(self._reads.aclose(), self._seal_reads.aclose())


def _refused(problem: Problem) -> ProblemError:
    """A 401; the log has its reason, and nothing of the key."""
    log.info("A request was not authenticated: %s", problem.detail)
    return ProblemError(problem)
