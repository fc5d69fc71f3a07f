"""One token, kept: fetched once however many wait, renewed before it ends.

A token past half its life, or past the moment its issuer named, is renewed in the background. If
that fails, the old token is used for as long as it is valid.
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
"""Gets a new token, with the claims that a resource insists on where it named any."""

UNUSABLE_SECONDS = 30
"""A token this close to its end may be refused on arrival."""

RETRY_SECONDS = 30
"""A renewal that failed, or brought nothing newer, is tried again after this time."""


class TokenSlot:
    """Keeps one token. Belongs to one event loop."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._token: AccessTokenInfo | None = None
        self._renew_at = 0.0
        self._fetching: dict[str | None, asyncio.Task[AccessTokenInfo]] = {}

    async def get(self, claims: str | None = None) -> AccessTokenInfo:
        """The token; a new one where ``claims`` say what the present one lacks.

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
        """Drop the token, because whom it was shown to refused it."""
        self._token = None

    async def aclose(self) -> None:
        """Give up what is still being fetched."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_usable(self, token: AccessTokenInfo) -> bool:
        return self._clock() < token.expires_on - UNUSABLE_SECONDS

    def _start(self, claims: str | None) -> asyncio.Task[AccessTokenInfo]:
        """Fetch a token, or join those who wait for the same one."""
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
        """Log a failed renewal, for which no caller waits; a failed first fetch raises."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._token is not None and self._is_usable(self._token):
            reason = error.message if isinstance(error, IdentityError) else repr(error)
            log.warning("A token could not be renewed, the old one serves on: %s", reason)
