"""Asks the right model, and the next one where it fails.

A model is passed over while its circuit is open. Where it fails as models fail (outage, exhausted
rate limit, no answer in time), the next preferred one is asked within the same deadline; where the
message itself is refused, or part of an answer was delivered, nobody else is.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from ..config import Preferences
from ..foundry.errors import (
    INTERRUPTED,
    MISTAKE,
    ConfigurationError,
    FoundryError,
    ServiceUnavailableError,
    TimeoutError,
)
from ..foundry.events import MessageDelta, ToolStarted, TurnCompleted, TurnEvent
from ..foundry.models import TurnRequest
from ..foundry.retry import Deadline
from .backends import Model
from .breaker import FAILURES_TO_OPEN
from .conversations import Conversation, ModelRequest
from .model_types import WHAT_TO_SET, ModelType
from .results import Attempt, Routed

log = logging.getLogger(__name__)

SHARE_WHILE_OTHERS_WAIT = 0.5
"""Of the time that is left: a model that hangs must leave time for the next one to answer."""

ENOUGH = 0.9
"""Of the time that a model gets by default while others wait."""

CLOSING_SECONDS = 5.0
"""Beyond its deadline, for the last model to look whether a lost answer is there after all."""


@dataclass(frozen=True, slots=True)
class _Limits:
    """How long one model may take, in seconds."""

    seconds: float
    """For the whole answer."""
    patience: float
    """For the first piece of it."""


class Router:
    """The models that are configured, and the order in which they are asked."""

    def __init__(
        self, models: Iterable[Model], preferences: Preferences, *, patience: float
    ) -> None:
        """Take the models in.

        Args:
            models: Those that are configured.
            preferences: Who answers for which domain.
            patience: The most seconds to wait for the first piece of a streamed answer.
        """
        self._models: Mapping[ModelType, Model] = {model.model_type: model for model in models}
        self._preferences = preferences
        self._patience = patience
        self._enough = patience * SHARE_WHILE_OTHERS_WAIT * ENOUGH
        """Seconds after which silence is the model's failure and not its caller's haste."""

    def connect(self) -> None:
        """Check the settings of all models.

        Raises:
            ConfigurationError: naming the setting that cannot work.
        """
        for model in self._models.values():
            model.backend.connect()

    async def select(self, domain: str) -> ModelType:
        """The best model for a domain that does not rest and whose health is good.

        Where none is, the best that is configured.

        Raises:
            ConfigurationError: if none is configured.
        """
        ranked = self._ranked(domain)
        for model in ranked:
            if not model.breaker.rest() and await model.health.is_good():
                return model.model_type
        return ranked[0].model_type

    def _ranked(self, domain: str) -> list[Model]:
        order = self._preferences.order(domain)
        ranked = [self._models[kind] for kind in order if kind in self._models]
        if not ranked:
            raise ConfigurationError(
                f"No model is configured for the domain '{domain}'. "
                + " ".join(WHAT_TO_SET[kind] for kind in order)
            )
        return ranked

    def _candidates(self, first: ModelType, turn: TurnRequest) -> list[Model]:
        """The model to ask first, and those that may answer in its place."""
        if first not in self._models:
            raise ConfigurationError(WHAT_TO_SET[first])
        if refusal := self._models[first].backend.refusal(turn):
            raise refusal
        others = (self._models.get(kind) for kind in self._preferences.order(turn.domain))
        return [
            self._models[first],
            *(m for m in others if m and m.model_type != first and not m.backend.refusal(turn)),
        ]

    async def events(
        self, request: ModelRequest, conversation: Conversation, attempts: list[Attempt]
    ) -> AsyncGenerator[TurnEvent | Routed]:
        """Answer a request; `Routed` comes last. ``attempts`` is filled in on the way.

        Raises:
            FoundryError: that of the model asked first, if none gave an answer.
        """
        deadline = Deadline(request.seconds)
        turn = request.turn
        first = request.model_type or await self.select(turn.domain)
        candidates = self._candidates(first, turn)
        failure: FoundryError | None = None
        for number, model in enumerate(candidates, 1):
            limits = self._limits(
                deadline.remaining(), request.streamed, others_wait=number < len(candidates)
            )
            delivered = False
            try:
                events = self._ask(model, turn, conversation, limits, request.streamed)
                async with aclosing(events):
                    async for event in events:
                        delivered = delivered or isinstance(event, MessageDelta)
                        if isinstance(event, TurnCompleted):
                            attempts.append(Attempt(model.model_type))
                            yield Routed(event.result, tuple(attempts))
                        else:
                            yield event
            except FoundryError as error:
                attempts.append(Attempt(model.model_type, error.code))
                if delivered or not _another_may_answer(error, is_fallback=failure is not None):
                    raise
                log.warning("%s gave no answer: %s", model.model_type, error.code)
                failure = failure or error
            else:
                return
            turn = replace(turn, model=None)  # that name was for the first one
        assert failure is not None  # noqa: S101 - there was a candidate, and it failed
        raise failure

    def _limits(self, remaining: float, streamed: bool, *, others_wait: bool) -> _Limits:
        if not others_wait:
            return _Limits(remaining, remaining + CLOSING_SECONDS)
        share = remaining * SHARE_WHILE_OTHERS_WAIT
        if streamed:  # once it has begun, nobody else will answer
            return _Limits(remaining, min(share, self._patience * SHARE_WHILE_OTHERS_WAIT))
        return _Limits(share, share)

    async def _ask(
        self,
        model: Model,
        turn: TurnRequest,
        conversation: Conversation,
        limits: _Limits,
        streamed: bool,
    ) -> AsyncGenerator[TurnEvent]:
        """The events of one model, unless its circuit is open."""
        has_time = min(limits.seconds, limits.patience) >= self._enough
        passage = model.breaker.admit(has_time=has_time)
        if passage is None:
            raise _resting(model)
        with passage:
            deadline = Deadline(limits.seconds)
            events = model.backend.events(turn, conversation, deadline, streamed=streamed)
            begun_in_time = _begun_within(limits.patience, events, model.model_type)
            try:
                async with aclosing(begun_in_time) as begun:
                    async for event in begun:
                        yield event
            except FoundryError as error:
                if error.treatment.moves:
                    model.health.forget()
                raise
        model.health.learn(healthy=True)

    def breaker_states(self) -> dict[str, str]:
        """The circuit of each configured model: `closed`, `open` or `half_open`."""
        return {kind.value: model.breaker.circuit.value for kind, model in self._models.items()}

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """The figures of each model and the state of its breaker."""
        return {
            kind.value: {**model.breaker.snapshot(), **model.backend.metrics.snapshot()}
            for kind, model in self._models.items()
        }

    async def aclose(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(model.backend.aclose() for model in self._models.values()))


def _another_may_answer(error: FoundryError, *, is_fallback: bool) -> bool:
    """Whether a failure is the model's and not the message's.

    Where another model has failed before, its failure is what the caller needs to know, and not
    that the one in its place is not set up well.
    """
    return error.treatment.moves or (is_fallback and error.treatment not in {MISTAKE, INTERRUPTED})


def _resting(model: Model) -> ServiceUnavailableError:
    seconds = model.breaker.rest()
    return ServiceUnavailableError(
        f"{model.model_type} failed {FAILURES_TO_OPEN} times in a row and is not asked again for "
        f"{seconds:.0f} s.",
        code="circuit_open",
        retry_after=seconds,
    )


async def _begun_within(
    seconds: float, events: AsyncGenerator[TurnEvent], name: str
) -> AsyncGenerator[TurnEvent]:
    """The events of an answer whose first piece must come in time; later ones may take longer."""
    deadline, begun = Deadline(seconds), False
    async with aclosing(events):
        while True:
            try:
                async with asyncio.timeout(None if begun else deadline.remaining()):
                    event = await anext(events, None)
            except FoundryError:
                raise
            except builtins.TimeoutError as error:
                raise TimeoutError(
                    f"{name} gave no answer within {seconds:.3g} s.", may_have_run=True
                ) from error
            if event is None:
                return
            begun = begun or isinstance(event, MessageDelta | ToolStarted | TurnCompleted)
            yield event
