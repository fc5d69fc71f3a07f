"""The least Foundry that can keep conversations: answers at once, forgets nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

import httpx

from shared.config import FoundryAgentServiceConfig
from shared.foundry.endpoint import Endpoint
from shared.foundry.service import FoundryService
from shared.identity.credentials import Credential

JsonObject = dict[str, Any]


class FixedToken:
    """A token that needs no identity service."""

    async def headers(self, claims: str | None = None) -> dict[str, str]:
        return {"Authorization": "Bearer local-token"}

    async def aclose(self) -> None:
        return


class SignedInFoundry(FoundryService):
    """The service as a process has it whose identity is taken for granted."""

    def __init__(self, config: FoundryAgentServiceConfig, http: httpx.AsyncBaseTransport) -> None:
        super().__init__(config, http=http)

    def _credential(self, endpoint: Endpoint) -> Credential:
        return FixedToken()


class MiniFoundry(httpx.AsyncBaseTransport):
    """`POST /conversations`, `POST /responses` and what is needed to look back at them."""

    def __init__(self) -> None:
        self.conversations: dict[str, list[JsonObject]] = {}
        self._responses: dict[str, JsonObject] = {}
        self._ids = count(1)

    @property
    def answers(self) -> int:
        """How many messages were answered."""
        return len(self._responses)

    def said(self, conversation_id: str) -> list[str]:
        """The user's messages of a conversation, in order."""
        items = self.conversations[conversation_id]
        return [item["content"] for item in items if item["role"] == "user"]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.partition("/openai/v1/")[2].split("/")
        body: JsonObject = json.loads(request.content) if request.content else {}
        return httpx.Response(200, json=self._answer(path, body, request.url.params))

    def _answer(self, path: list[str], body: JsonObject, query: Mapping[str, str]) -> JsonObject:
        match path:
            case ["conversations"]:
                conversation_id = f"conv_{next(self._ids)}"
                self.conversations[conversation_id] = []
                return {"id": conversation_id}
            case ["conversations", conversation_id, "items"]:
                items = self.conversations[conversation_id]
                known = [item["id"] for item in items]
                start = known.index(query["after"]) + 1 if "after" in query else 0
                return {"data": items[start:], "has_more": False}
            case ["responses", response_id]:
                return self._responses[response_id]
            case _:
                return self._respond(body)

    def _respond(self, body: JsonObject) -> JsonObject:
        response_id = f"resp_{next(self._ids)}"
        asked = [{**item, "id": f"msg_{next(self._ids)}"} for item in body["input"]]
        text: JsonObject = {"type": "output_text", "text": "Yes.", "annotations": []}
        answer: JsonObject = {
            "type": "message",
            "role": "assistant",
            "id": f"msg_{next(self._ids)}",
            "response_id": response_id,
            "content": [text],
        }
        if conversation_id := body.get("conversation"):
            self.conversations[conversation_id] += [*asked, answer]
        response: JsonObject = {
            "id": response_id,
            "status": "completed",
            "model": body["model"],
            "output": [answer],
            "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
        }
        self._responses[response_id] = response
        return response
