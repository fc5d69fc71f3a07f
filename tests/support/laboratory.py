"""The emulator with its faults, and services that talk to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Any

import httpx

from local.services import FoundryEmulator
from shared.config import FoundryAgentServiceConfig, IdentitySettings
from shared.foundry.models import ThreadRef
from shared.foundry.service import FoundryService
from shared.foundry.tools import CustomTool

JsonObject = dict[str, Any]

API_KEY = "local-key"
TOKEN = "local-token"
WAIT_SECONDS = 15.0

_numbers = count(1)


class Where(StrEnum):
    """What a turn continues."""

    THREAD = "thread"
    """A conversation, at the project endpoint."""
    CHAIN = "chain"
    """A chain of responses, at the resource endpoint."""
    ALONE = "alone"
    """Nothing."""


@dataclass(frozen=True)
class Laboratory:
    """What the tests do with the emulator, past the client under test."""

    emulator: FoundryEmulator
    http: httpx.AsyncClient
    _shared: dict[tuple[Where, float], FoundryService] = field(
        default_factory=dict[tuple[Where, float], FoundryService]
    )
    _closing: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def identity(self) -> IdentitySettings:
        return IdentitySettings(managed_identity_endpoint=self.emulator.token_endpoint)

    def config(self, where: Where, **settings: Any) -> FoundryAgentServiceConfig:
        at: JsonObject = {"endpoint_url": self.emulator.project_endpoint}
        if where is not Where.THREAD:
            at = {"endpoint_url": f"{self.emulator.url}/openai/v1", "api_key": API_KEY}
        return FoundryAgentServiceConfig.model_validate({**at, **settings})

    @asynccontextmanager
    async def service(
        self, where: Where, *, tools: Iterable[CustomTool[..., Any]] = (), **settings: Any
    ) -> AsyncGenerator[FoundryService]:
        service = FoundryService(self.config(where, **settings), self.identity, tools=tools)
        try:
            yield service
        finally:
            await service.aclose()

    async def shared(self, where: Where, seconds: float) -> FoundryService:
        """A service for turns that do not disturb each other; a TLS context each is slow."""
        if (where, seconds) not in self._shared:
            opened = self.service(where, timeout=seconds)
            self._shared[where, seconds] = await self._closing.enter_async_context(opened)
        return self._shared[where, seconds]

    async def aclose(self) -> None:
        await self._closing.aclose()

    async def arm(self, kind: str, mark: JsonObject, **more: Any) -> None:
        """Let a fault strike response requests whose metadata is ``mark``."""
        fault = {"operation": "responses.create", "kind": kind, "match": {"metadata": mark}, **more}
        answer = await self.http.post("/_emulator/faults", json=fault)
        assert answer.status_code == 201, answer.text

    async def requests(self, operation: str, mark: JsonObject | None = None) -> list[JsonObject]:
        """The logged requests of an operation, of all or of one turn's."""
        answer = await self.http.get("/_emulator/requests", params={"operation": operation})
        found: list[JsonObject] = answer.json()["requests"]
        if mark is None:
            return found
        return [entry for entry in found if (entry["body"] or {}).get("metadata") == mark]

    async def until_worked(self, mark: JsonObject) -> None:
        """Wait until the emulator has finished what hung."""
        async with asyncio.timeout(WAIT_SECONDS):
            while await self._hangs(mark):
                await asyncio.sleep(0.1)

    async def _hangs(self, mark: JsonObject) -> bool:
        entries = await self.requests("responses.create", mark)
        return any(entry["fault"] == "hang" and entry["status"] is None for entry in entries)

    async def items(self, conversation_id: str) -> list[JsonObject]:
        """What a conversation holds, oldest first; nothing where it is gone."""
        path = f"{self.emulator.project_endpoint}/openai/v1/conversations/{conversation_id}/items"
        query = {"order": "asc", "limit": 100}
        answer = await self.http.get(
            path, params=query, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        return answer.json()["data"] if answer.status_code == 200 else []

    async def append(self, conversation_id: str, *items: JsonObject) -> None:
        """Put items into a conversation, as a call would have left them there."""
        path = f"{self.emulator.project_endpoint}/openai/v1/conversations/{conversation_id}/items"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = await self.http.post(path, json={"items": items}, headers=headers)
        assert answer.status_code == 200, answer.text

    async def chain(self, response_id: str | None) -> list[JsonObject]:
        """What a chain of responses holds that ends with this one, newest first."""
        found: list[JsonObject] = []
        while response_id:
            path, headers = f"/openai/v1/responses/{response_id}", {"api-key": API_KEY}
            body = (await self.http.get(path, headers=headers)).json()
            asked = (await self.http.get(f"{path}/input_items", headers=headers)).json()
            found += [*reversed(body["output"]), *asked["data"]]
            response_id = body["previous_response_id"]
        return found

    async def delete(self, backing: ThreadRef) -> None:
        """Take away what backs a thread."""
        if backing.conversation_id:
            path = f"{self.emulator.project_endpoint}/openai/v1/conversations/"
            headers = {"Authorization": f"Bearer {TOKEN}"}
            answer = await self.http.delete(path + backing.conversation_id, headers=headers)
        else:
            path, headers = f"/openai/v1/responses/{backing.last_response_id}", {"api-key": API_KEY}
            answer = await self.http.delete(path, headers=headers)
        assert answer.status_code == 200, answer.text


def new_name(prefix: str) -> str:
    """A text that no other turn of the session says."""
    return f"{prefix}-{next(_numbers)}"


def said(items: list[JsonObject], text: str) -> int:
    """How often the user says ``text``."""
    return sum(item.get("role") == "user" and text_of(item) == text for item in items)


def answered(items: list[JsonObject], text: str) -> bool:
    """Whether the scripted model's answer to ``text`` is there."""
    return any(
        item.get("role") == "assistant" and text_of(item) == f"You said: {text}" for item in items
    )


def text_of(item: JsonObject) -> str:
    """The text of a message item."""
    parts: list[JsonObject] = item.get("content") or []
    return "".join(part.get("text", "") for part in parts)
