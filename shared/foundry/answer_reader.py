"""Reads the answer to a request as it arrives, and remembers how far it got.

What is remembered outlives a broken connection: it says which response to ask for, behind which
event to go on, and what the caller has been given already.
https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses
"""

from __future__ import annotations

from typing import cast

from ..telemetry.upstream import upstream
from .error_bodies import error_from_failure
from .errors import ProtocolError, ServiceUnavailableError
from .reconcile import ANSWERED
from .responses import parse_usage
from .wire_json import JsonObject, object_at, parse_json, text_at

TERMINAL = {"response.completed", "response.incomplete"}
"""Events that end a stream and carry the whole response."""


class AnswerReader:
    """Turns frames into events, and failures inside an answer into our errors."""

    def __init__(self) -> None:
        self.delivered = ""
        """The text that has arrived."""
        self.response_id: str | None = None
        self.sequence_number = -1
        """Of the last event that arrived."""
        self.running = False
        """Foundry has begun a response, and has not said that it ended badly."""
        self.request_id: str | None = None
        """Foundry's id of the request whose answer is read."""
        self._heard = set[str]()
        """Responses whose tokens are counted."""

    def read(self, data: str) -> JsonObject | None:
        """The event in one frame of a stream; None in a frame without any.

        Raises:
            FoundryError: if the frame cannot be read, or says that the response failed.
        """
        if data == "[DONE]":
            return None
        kind, event = self._parse(data)
        if kind == "response.created":
            self.response_id = text_at(object_at(event, "response"), "id")
            self.running = self.response_id is not None
        elif kind == "response.output_text.delta":
            self.delivered += str(event.get("delta", ""))
        elif kind == "error":
            self.running = False
            self.hear({})
            raise error_from_failure(event.get("error") or event, self.request_id)
        elif kind in TERMINAL or kind == "response.failed":
            return self.end(object_at(event, "response"))
        return event

    def end(self, response: JsonObject) -> JsonObject:
        """The terminal event of a response that has ended.

        Raises:
            FoundryError: if it has failed, or has not ended at all.
        """
        status = response.get("status")
        if status in {"failed", "cancelled"}:
            self.running = False
            self.hear(response)
            raise error_from_failure(response.get("error"), self.request_id)
        if status not in ANSWERED:
            raise ProtocolError(
                f"Foundry returned a response that is not finished (status {status!r}).",
                request_id=self.request_id,
                may_have_run=True,
            )
        self.hear(response)
        return {"type": f"response.{status}", "response": response}

    def hear(self, response: JsonObject) -> None:
        """Count the tokens that a response says it took, whatever came of it, but only once."""
        response_id = text_at(response, "id")
        if response_id in self._heard:
            return
        if response_id:
            self._heard.add(response_id)
        upstream().heard(parse_usage(object_at(response, "usage")))

    def _parse(self, data: str) -> tuple[str, JsonObject]:
        """A frame's event and its kind; gateways report errors in events without a type."""
        try:
            event = cast("JsonObject", parse_json(data))
            kind = "error" if event.get("error") else str(event["type"])
            self.sequence_number = int(event.get("sequence_number", self.sequence_number))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServiceUnavailableError(
                "An event of the stream from Foundry cannot be read.",
                may_have_run=True,
                request_id=self.request_id,
            ) from error
        return kind, event
