"""Reads the answer to a request as it arrives, and remembers how far it got.

What is remembered outlives a broken connection: the response to ask for, the event after which to
resume, and the text that the caller already has.
https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from ..observability.upstream import upstream
from ..text import parse_json
from .answers import Reply, Stream
from .classification import kind_of
from .error_bodies import error_from_failure
from .errors import ProtocolError, RateLimitedError, ServiceUnavailableError
from .reconcile import ANSWERED, RUNNING
from .responses import parse_usage
from .wire_json import JsonObject, object_at, objects_at, text_at

TERMINAL = {"response.completed", "response.incomplete"}
"""Events that end a stream and carry the whole response."""


class AnswerReader:
    """Turns frames into events, and failures inside an answer into our errors."""

    def __init__(self) -> None:
        self.delivered = ""
        """The text that has arrived."""
        self.called = set[str]()
        """The functions whose calls have begun to arrive."""
        self.response_id: str | None = None
        self.sequence_number = -1
        """Of the last event that arrived."""
        self.running = False
        """Foundry has begun a response, and has not said that it ended badly."""
        self.request_id: str | None = None
        """Foundry's id of the request whose answer is read."""
        self._headers: Mapping[str, str] = {}
        self._failure: JsonObject | None = None
        """What an `error` event said; empty where the response failed without a reason."""
        self._failed: JsonObject = {}
        """The response that failed."""
        self._counted = set[str]()
        """Responses whose tokens are counted."""

    def open(self, answer: Reply | Stream) -> None:
        """Begin to read an answer to the same request."""
        self.request_id, self._headers = answer.request_id, answer.headers
        self._failure, self._failed = None, {}

    @property
    def is_failing(self) -> bool:
        """Whether a failure was reported whose reason may still come."""
        return self._failure is not None

    def read(self, data: str) -> JsonObject | None:
        """The event in one frame of a stream; None in a frame without any.

        Raises:
            FoundryError: if the frame cannot be read, or says that the response failed.
        """
        if data == "[DONE]":
            self.conclude()
            return None
        kind, event = self._parse(data)
        if kind == "response.created":
            response = object_at(event, "response")
            self.response_id = _note_stored(response)
            self.running = self.response_id is not None
        elif kind == "response.output_text.delta":
            self.delivered += str(event.get("delta", ""))
        elif kind == "response.output_item.added":
            self._note_call(object_at(event, "item"))
        elif kind == "error":
            self._fail(event, object_at(event, "response"))
            return None
        elif kind == "response.failed":
            self._fail({}, object_at(event, "response"))
            return None
        elif kind in TERMINAL:
            self.end(object_at(event, "response"))
        return event

    def _note_call(self, item: JsonObject) -> None:
        if item.get("type") == "function_call":
            self.called.add(str(item.get("name")))

    def _fail(self, reason: JsonObject, response: JsonObject) -> None:
        """Note what one event reports of a failure.

        The reason and the response come in one event or in two, in either order.

        Raises:
            FoundryError: once both are known.
        """
        self.running = False
        self._failure = reason or self._failure or {}
        self._failed = response or self._failed
        if self._failed and (self._failure or self._failed.get("error")):
            self.conclude()

    def conclude(self) -> None:
        """Raise the failure that was reported, if one was.

        Raises:
            FoundryError: the reported failure.
        """
        if self._failure is None:
            return
        self.count_usage(self._failed)
        error = _reason(self._failed, self._failure)
        raise error_from_failure(error, self.request_id, headers=self._headers)

    def end(self, response: JsonObject) -> JsonObject:
        """Check that a response has ended and succeeded, and return it.

        Raises:
            FoundryError: if it has failed, or has not ended at all.
        """
        status = response.get("status")
        if _has_failed(response):
            self._fail({}, response)
            self.conclude()
        if status not in ANSWERED:
            self.response_id = text_at(response, "id")
            self.running = status in RUNNING and self.response_id is not None
            raise ProtocolError(
                f"Foundry returned a response that is not finished (status {status!r}).",
                request_id=self.request_id,
                may_have_run=True,
            )
        self.count_usage(response)
        return response

    def count_usage(self, response: JsonObject) -> None:
        """Count the tokens that a response reports, also a failed one, but only once."""
        response_id = _note_stored(response)
        if response_id in self._counted:
            return
        if response_id:
            self._counted.add(response_id)
        upstream().add_usage(parse_usage(object_at(response, "usage")))

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


def _has_failed(response: JsonObject) -> bool:
    """Whether a response failed, by its status, its error, or the reason that it is incomplete."""
    status = response.get("status")
    if status == "incomplete":
        reason = text_at(object_at(response, "incomplete_details"), "reason")
        kind = kind_of(None, [reason or ""])
        return kind in {RateLimitedError, ServiceUnavailableError}
    return status in {"failed", "cancelled"} or (
        status not in ANSWERED and bool(response.get("error"))
    )


def _reason(response: JsonObject, event: JsonObject) -> JsonObject:
    """One error object from all that a failed response and an `error` event contain."""
    errors: list[JsonObject] = []
    for said in (response.get("error"), event.get("error") or event):
        if isinstance(said, str):
            errors.append({"message": said})
        elif isinstance(said, dict) and said:
            errors.append(cast("JsonObject", said))
    if reason := text_at(object_at(response, "incomplete_details"), "reason"):
        errors.append({"code": reason})
    if not errors:
        return {}
    first, *others = errors
    return {**first, "details": [*objects_at(first, "details"), *others]}


def _note_stored(response: JsonObject) -> str | None:
    """A response's id, which is recorded so that the response can be deleted later."""
    response_id = text_at(response, "id")
    if response_id and response.get("store") is not False:
        upstream().add_response(response_id)
    return response_id
