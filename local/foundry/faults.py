"""Faults that a test injects, and the choice of the one for a request."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from .ids import new_id

JsonObject = dict[str, Any]

MODEL_FAILED = "The model failed to generate a response."


class FaultKind(StrEnum):
    """The kind of failure."""

    STATUS = "status"
    """Answer with `status`, `headers` and `body`; no work is done."""
    WORK_THEN_DROP = "work_then_drop"
    """Do the work, then cut the connection without an answer."""
    WORK_THEN_STATUS = "work_then_status"
    """Do the work, then answer with `status`, `headers` and `body`."""
    DROP = "drop"
    """Cut the connection; no work is done."""
    HANG = "hang"
    """Wait `seconds` before the work (`when: before`) or between work and answer (`after`)."""
    CUT_STREAM = "cut_stream"
    """Cut the connection after `after_events` events of the stream."""
    MALFORMED_EVENT = "malformed_event"
    """Break the JSON of event number `at`, counted from 0."""
    HTML = "html"
    """Answer with `status` and an HTML page as a proxy would; no work is done."""
    SLOW = "slow"
    """Take `seconds` for every event of the answer."""
    USER_ITEM_THEN_DROP = "user_item_then_drop"
    """Store the user's message, cut the connection; the answer arrives `after` seconds later."""
    FAILED = "failed"
    """HTTP 200 with the response's status `failed`, and `body` as its error."""
    ERROR_EVENT = "error_event"
    """A stream that ends with an `error` event of `body`; a plain answer has `failed`."""
    FAILED_THEN_ERROR = "failed_then_error"
    """`response.failed` without an error, and then an `error` event of `body`."""
    ERROR_THEN_FAILED = "error_then_failed"
    """The events of `failed_then_error` in reverse order."""
    WHOLE = "whole"
    """Answer a request for a stream with the whole answer as JSON."""
    GZIP = "gzip"
    """Compress a stream although the client did not accept compression."""
    INCOMPLETE = "incomplete"
    """HTTP 200 with the response's status `incomplete` after the first piece of text."""
    NO_USAGE = "no_usage"
    """Report no usage."""
    WRONG_USAGE = "wrong_usage"
    """Report `body` as the usage."""
    NO_TERMINAL = "no_terminal"
    """End the stream in order, but without its terminal event."""


FAILING = {
    FaultKind.FAILED,
    FaultKind.ERROR_EVENT,
    FaultKind.FAILED_THEN_ERROR,
    FaultKind.ERROR_THEN_FAILED,
}
"""Kinds that report a failure inside HTTP 200."""


class Fault(BaseModel):
    """One fault, as `POST /_emulator/faults` takes it."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(default_factory=lambda: new_id("fault"))
    operation: str = "*"
    """The name of an operation, such as `responses.create`, or `*` for all."""
    kind: FaultKind
    times: int | None = 1
    """How many requests it applies to; null for all."""
    probability: float = Field(default=1.0, ge=0.0, le=1.0)
    match: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Required values of fields (`conversation`, `project`, path parameters, body fields)."""
    status: int = Field(default=500, ge=200, le=599)
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    body: Any = None
    """The JSON or text to answer with; if null, an error in the service's format."""
    seconds: float = Field(default=0.0, ge=0.0)
    when: str = Field(default="before", pattern="^(before|after)$")
    after_events: int = Field(default=0, ge=0)
    at: int = Field(default=0, ge=0)
    after: float = Field(default=0.0, ge=0.0)

    @property
    def error(self) -> JsonObject:
        """The error of a failed answer."""
        given: JsonObject | None = self.body
        return given or {"code": "server_error", "message": MODEL_FAILED}


@dataclass(slots=True)
class _Armed:
    fault: Fault
    struck: int = 0


class FaultPlan:
    """The active faults, in the order in which they were added."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._armed: list[_Armed] = []
        self._chance = chance or random.Random()  # noqa: S311 - picks faults, not secrets

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        self._armed.append(_Armed(fault))

    def clear(self) -> None:
        """Remove all faults."""
        self._armed.clear()

    def describe(self) -> list[JsonObject]:
        """List all faults, used-up ones too, with how often each was applied."""
        return [{**armed.fault.model_dump(), "struck": armed.struck} for armed in self._armed]

    def take(self, operation: str, fields: JsonObject) -> Fault | None:
        """Choose and count the fault for this request; None if none applies."""
        for armed in self._armed:
            if self._strikes(armed, operation, fields):
                armed.struck += 1
                return armed.fault
        return None

    def _strikes(self, armed: _Armed, operation: str, fields: JsonObject) -> bool:
        fault = armed.fault
        if fault.operation not in {"*", operation}:
            return False
        if fault.times is not None and armed.struck >= fault.times:
            return False
        if any(fields.get(name) != value for name, value in fault.match.items()):
            return False
        return fault.probability >= 1.0 or self._chance.random() < fault.probability
