"""A Foundry that fails in every way, and records the usage it reported."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import httpx

from .mini_foundry import JsonObject, MiniFoundry
from .scripted_foundry import Pieces, sse, stream_events

FATES = {
    "answer": 70,
    "no usage": 3,
    "busy": 6,
    "out of order": 5,
    "refuse": 4,
    "lose": 6,
    "fail": 3,
    "unheard": 3,
}
"""What becomes of a message, and how often in a hundred."""


class UnreliableFoundry(MiniFoundry):
    """One for all instances; give each a `Line` of its own."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.told: dict[str, dict[str, tuple[str, dict[str, int]]]] = {}
        """By message: the instance and the tokens of each response that arrived, by its id."""
        self.questions: dict[str, str] = {}
        """The message that a response answers."""

    def note_told(self, instance: str, response: JsonObject) -> None:
        """Remember that an instance heard what a response used."""
        usage = response.get("usage")
        if usage and (question := self.questions.get(response["id"])):
            counts = {name: count for name, count in usage.items() if isinstance(count, int)}
            self.told.setdefault(question, {}).setdefault(response["id"], (instance, counts))

    def _respond(self, body: JsonObject) -> JsonObject:
        response = super()._respond(body)
        given, made = self.random.randint(1, 900), self.random.randint(1, 400)
        response["usage"] = {
            "input_tokens": given,
            "output_tokens": made,
            "total_tokens": given + made,
            "input_tokens_details": {"cached_tokens": self.random.randint(0, given)},
        }
        said = [item["content"] for item in body["input"] if item.get("role") == "user"]
        if not said:  # the message is already stored
            said = self.said(body["conversation"])
        self.questions[response["id"]] = said[-1]
        return response


class Line(httpx.AsyncBaseTransport):
    """How one instance reaches Foundry."""

    def __init__(self, foundry: UnreliableFoundry, instance: str) -> None:
        self._foundry = foundry
        self._instance = instance

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        foundry = self._foundry
        if request.method == "GET" or not request.url.path.endswith("/responses"):
            answer = await foundry.handle_async_request(request)
            if "/responses/" in request.url.path:
                foundry.note_told(self._instance, answer.json())
            return answer
        fate = foundry.random.choices(list(FATES), list(FATES.values()))[0]
        refusal = _refusal(fate)
        if refusal:
            return refusal
        if fate == "unheard":
            raise httpx.ConnectError("cut")
        response = (await foundry.handle_async_request(request)).json()
        return self._deliver(
            fate, response, streamed=bool(json.loads(request.content).get("stream"))
        )

    def _deliver(self, fate: str, response: JsonObject, *, streamed: bool) -> httpx.Response:
        """Give the answer back, whole or in part."""
        if fate == "no usage":
            response["usage"] = None
        if fate == "fail":
            response = {**response, "status": "failed", "error": {"code": "server_error"}}
        if fate == "lose" and not streamed:
            raise httpx.ReadError("cut")
        if fate != "lose":
            self._foundry.note_told(self._instance, response)
        if not streamed:
            return httpx.Response(200, json=response)
        events = [sse(event) for event in stream_events(response)]
        if fate == "lose":
            return httpx.Response(200, stream=Pieces(events[:-1], httpx.ReadError("cut")))
        return httpx.Response(200, stream=Pieces(events))


def _refusal(fate: str) -> httpx.Response | None:
    statuses = {"busy": 429, "out of order": 500, "refuse": 400}
    if fate not in statuses:
        return None
    error: dict[str, Any] = {"error": {"code": "x", "message": "no"}}
    return httpx.Response(statuses[fate], json=error, headers={"retry-after-ms": "1"})
