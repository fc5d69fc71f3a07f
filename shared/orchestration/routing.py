"""Routes a turn to the preferred model, and to the next one if that fails.

A model is skipped while its circuit is open. After an outage, a rate limit or a timeout, the next
preferred model is asked within the same deadline. No other model is asked if the message itself was
refused, or if part of an answer was delivered.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..config import Preferences
from ..config.models import ANY_DOMAIN
from ..foundry.errors import (
    INTERRUPTED,
    MISTAKE,
    ConfigurationError,
    FoundryError,
    InvalidRequestError,
    ServiceUnavailableError,
    TimeoutError,
)
from ..foundry.events import ClientCallStarted, Emit, MessageDelta, ToolStarted, TurnEvent
from ..foundry.models import TurnRequest, TurnResult
from ..foundry.retry import Deadline
from ..state.client_keys import KeyTerms
from ..turns.command import Attempt, RunningTurn
from .backends import Model
from .breaker import FAILURES_TO_OPEN
from .model_types import WHAT_TO_SET, ModelType

log = logging.getLogger(__name__)

SHARE_WHILE_OTHERS_WAIT = 0.5
"""The share of the remaining time that a model gets while other models could still answer, so that
a model that hangs leaves time for the next one."""

ENOUGH = 0.9
"""The share of a model's default time from which on a timeout counts as the model's failure."""

NOT_IN_KEY = "The client key allows none of the models that may answer."
"""Only for a job whose key or models changed after it was accepted; others are checked before."""

CLOSING_SECONDS = 5.0
"""Time after the deadline in which the last model may still find an answer that was lost."""


@dataclass(frozen=True, slots=True)
class _Limits:
    """The time limits of one model, in seconds."""

    seconds: float
    """For the whole answer."""
    patience: float
    """Until the answer begins."""


class Router:
    """Asks the configured models in the order of preference."""

    def __init__(
        self, models: Iterable[Model], preferences: Preferences, *, patience: float
    ) -> None:
        """Create the router.

        Args:
            models: The configured models.
            preferences: The order of models for each domain.
            patience: The most seconds until a streamed answer begins.
        """
        self._models: Mapping[ModelType, Model] = {model.model_type: model for model in models}
        self._preferences = preferences
        self._patience = patience
        self._enough = patience * SHARE_WHILE_OTHERS_WAIT * ENOUGH
        """A timeout after fewer seconds is due to the caller's short deadline, not the model."""

    @property
    def models(self) -> Mapping[ModelType, Model]:
        """The configured models."""
        return self._models

    def orders(self) -> dict[str, list[ModelType]]:
        """The configured models of each domain, best first; `*` stands for all other domains."""
        domains = {ANY_DOMAIN, *self._preferences.by_domain}
        return {
            domain: [kind for kind in self._preferences.order(domain) if kind in self._models]
            for domain in sorted(domains)
        }

    @property
    def only_foundry(self) -> bool:
        """Whether no model but Foundry is configured."""
        return self._models.keys() <= {ModelType.FOUNDRY_AGENT_SERVICE}

    def connect(self) -> None:
        """Check the settings of all models.

        Raises:
            ConfigurationError: naming the setting that cannot work.
        """
        for model in self._models.values():
            model.backend.connect()

    async def select(self, domain: str, terms: KeyTerms | None = None) -> ModelType:
        """The first model in the domain's order whose circuit is not open and that is healthy.

        If there is none, the first that is configured. With the terms of a client key, only models
        that they allow.

        Raises:
            ConfigurationError: if none is configured.
        """
        ranked = self._ranked(domain)
        ranked = [model for model in ranked if _is_allowed(model, terms)] or ranked
        for model in ranked:
            if not model.breaker.retry_after() and await model.health.is_good():
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

    def _candidates(
        self, first: ModelType, request: TurnRequest, terms: KeyTerms | None
    ) -> list[Model]:
        """The model to ask first, then those that may answer if it fails."""
        if first not in self._models:
            raise ConfigurationError(WHAT_TO_SET[first])
        if refusal := self._models[first].backend.refusal(request):
            raise refusal
        if not _is_allowed(self._models[first], terms, request.model):
            raise InvalidRequestError(NOT_IN_KEY)
        order = self._preferences.order(request.domain)
        others = (self._models[kind] for kind in order if kind in self._models and kind != first)
        return [
            self._models[first],
            *(m for m in others if _is_allowed(m, terms) and not m.backend.refusal(request)),
        ]

    async def answer(self, turn: RunningTurn) -> TurnResult:
        """Answer a turn, and append each attempt to ``turn.attempts``.

        Raises:
            FoundryError: the error of the model asked first, if no model answered.
        """
        request, deadline = turn.request, turn.deadline
        first = turn.model_type or await self.select(request.domain, turn.terms)
        candidates = self._candidates(first, request, turn.terms)
        failure: FoundryError | None = None
        for number, model in enumerate(candidates, 1):
            others_wait = number < len(candidates)
            limits = self._limits(deadline.remaining(), turn.emit is not None, others_wait)
            asked = replace(turn, request=request, deadline=Deadline(limits.seconds))
            sent = _Sent(turn.emit)
            try:
                result = await self._ask(model, asked, limits, sent)
            except FoundryError as error:
                turn.attempts.append(Attempt(model.model_type, error.code))
                if sent.text or not _another_may_answer(error, is_fallback=failure is not None):
                    raise
                log.warning("%s gave no answer: %s", model.model_type, error.code)
                failure = failure or error
            else:
                turn.attempts.append(Attempt(model.model_type))
                return result
            request = replace(request, model=None)  # the name belongs to the first model
        assert failure is not None  # noqa: S101 - there was a candidate, and it failed
        raise failure

    def _limits(self, remaining: float, streamed: bool, others_wait: bool) -> _Limits:
        if not others_wait:
            return _Limits(remaining, remaining + CLOSING_SECONDS)
        share = remaining * SHARE_WHILE_OTHERS_WAIT
        if streamed:  # once it has begun, no other model will answer
            return _Limits(remaining, min(share, self._patience * SHARE_WHILE_OTHERS_WAIT))
        return _Limits(share, share)

    async def _ask(
        self, model: Model, turn: RunningTurn, limits: _Limits, sent: _Sent
    ) -> TurnResult:
        """Ask one model, unless its circuit is open; its answer must begin in time."""
        has_time = min(limits.seconds, limits.patience) >= self._enough
        permit = model.breaker.admit(has_time=has_time)
        if permit is None:
            raise circuit_open(model)
        with permit:
            try:
                async with asyncio.timeout(limits.patience) as patience:
                    emit = sent.watch(patience) if turn.emit else None
                    result = await model.backend.answer(replace(turn, emit=emit))
            except FoundryError as error:
                if error.treatment.moves:
                    model.health.forget()
                raise
            except builtins.TimeoutError as error:
                model.health.forget()
                raise TimeoutError(
                    f"{model.model_type} gave no answer within {limits.patience:.3g} s.",
                    may_have_run=True,
                ) from error
        model.health.learn(healthy=True)
        return result

    def breaker_states(self) -> dict[str, str]:
        """The circuit of each configured model: `closed`, `open` or `half_open`."""
        return {kind.value: model.breaker.circuit.value for kind, model in self._models.items()}

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """The metrics of each model and the state of its breaker."""
        return {
            kind.value: {**model.breaker.snapshot(), **model.backend.metrics.snapshot()}
            for kind, model in self._models.items()
        }

    async def aclose(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(model.backend.aclose() for model in self._models.values()))


def _another_may_answer(error: FoundryError, *, is_fallback: bool) -> bool:
    """Whether another model may answer, because the model failed and not the message.

    A fallback model with a configuration error is skipped too: the caller needs the error of the
    first model.
    """
    return error.treatment.moves or (is_fallback and error.treatment not in {MISTAKE, INTERRUPTED})


def _is_allowed(model: Model, terms: KeyTerms | None, named: str | None = None) -> bool:
    """Whether a client key lets a model answer, under the name in the request or its own."""
    return terms is None or terms.allows_model(model.model_type, named or model.backend.model)


def circuit_open(model: Model) -> ServiceUnavailableError:
    """The error of a request to a model whose circuit is open."""
    seconds = model.breaker.retry_after()
    return ServiceUnavailableError(
        f"{model.model_type} failed {FAILURES_TO_OPEN} times in a row and is not asked again for "
        f"{seconds:.0f} s.",
        code="circuit_open",
        retry_after=seconds,
    )


_ANSWERING = MessageDelta | ToolStarted | ClientCallStarted
"""Events with which an answer begins."""


class _Sent:
    """Whether part of an answer has been sent to the caller."""

    def __init__(self, emit: Emit | None) -> None:
        self._emit = emit
        self.text = False

    def watch(self, patience: asyncio.Timeout) -> Emit:
        """Return a function that emits events, and ends the time limit when the answer begins."""

        def emit(event: TurnEvent) -> None:
            if isinstance(event, _ANSWERING) and not patience.expired():
                patience.reschedule(None)
            self.text = self.text or isinstance(event, MessageDelta | ClientCallStarted)
            if self._emit:
                self._emit(event)

        return emit
