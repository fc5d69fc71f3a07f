"""A cache for one token. Concurrent requests share one fetch, and the token is renewed early.

A token is renewed in the background after half of its lifetime, or at the time that its issuer
gave. If the renewal fails, the old token is used until it expires.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from .errors import IdentityError

if TYPE_CHECKING:
    from azure.core.credentials import AccessTokenInfo

log = logging.getLogger(__name__)

Fetch = Callable[[str | None], "Awaitable[AccessTokenInfo]"]
"""Fetches a new token, with the claims that the resource requires, if any."""

UNUSABLE_SECONDS = 30
"""A token that expires sooner is not used, because it may have expired when it arrives."""

RETRY_SECONDS = 30
"""The time after which a renewal that failed, or returned the same token, is retried."""


class TokenSlot:
    """Caches one token. Belongs to one event loop."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._token: AccessTokenInfo | None = None
        self._renew_at = 0.0
        self._fetching: dict[str | None, asyncio.Task[AccessTokenInfo]] = {}

    async def get(self, claims: str | None = None) -> AccessTokenInfo:
        """The cached token, or a new one; with ``claims`` always a new one that has them.

        Raises:
            IdentityError: if there is no valid token and none could be obtained.
        """
        token = self._token
        if claims is None and token and self._is_usable(token):
            if self._clock() >= self._renew_at:
                self._start(None)
            return token
        return await asyncio.shield(self._start(claims))

    def forget(self) -> None:
        """Drop the token, because it was refused."""
        self._token = None

    async def aclose(self) -> None:
        """Cancel all fetches."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_usable(self, token: AccessTokenInfo) -> bool:
        return self._clock() < token.expires_on - UNUSABLE_SECONDS

    def _start(self, claims: str | None) -> asyncio.Task[AccessTokenInfo]:
        """Start to fetch a token, or return the task that already fetches it."""
        if claims not in self._fetching:
            task = asyncio.create_task(self._run(claims))
            self._fetching[claims] = task
            task.add_done_callback(self._ended)
        return self._fetching[claims]

    async def _run(self, claims: str | None) -> AccessTokenInfo:
        asked_at, held = self._clock(), self._token
        self._renew_at = asked_at + RETRY_SECONDS
        try:
            token = await self._fetch(claims)
        finally:
            del self._fetching[claims]
        self._token = token
        if held is None or token.token != held.token:
            half_life = asked_at + (token.expires_on - asked_at) / 2
            self._renew_at = token.refresh_on or half_life
        return token

    def _ended(self, task: asyncio.Task[AccessTokenInfo]) -> None:
        """Log a failed renewal, because no caller awaits it; a failed first fetch raises."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._token is not None and self._is_usable(self._token):
            reason = error.message if isinstance(error, IdentityError) else repr(error)
            log.warning("A token could not be renewed; the old one is still used: %s", reason)
