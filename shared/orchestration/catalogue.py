"""Which models can be asked, what each can do, what it costs, and why one cannot be asked.

Everything is known from the settings and from this instance's breakers; no request is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..config import AppSettings
from ..config.spending import ModelPrice, PriceTable
from ..foundry.errors import ConfigurationError
from ..turns.options import ANY_MODEL, OptionLimits
from .backends import Abilities, Model
from .breaker import Circuit
from .model_types import DEFAULT_ORDER, WHAT_TO_SET, ModelType
from .routing import Router, circuit_open

_BETWEEN_WORDS = re.compile(r"\W+")


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model that a backend answers with."""

    name: str
    is_default: bool
    """Whether it answers if a request names no model."""
    can_be_named: bool
    """Whether the `model` of a request may name it."""
    price: ModelPrice | None
    """None if the settings have no price for it."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A type of model: a backend that requests select by `model_type`."""

    model_type: ModelType
    agent_id: str | None = None
    unavailable: str | None = None
    """Why it cannot be asked, and which setting to set; None if it can."""
    retry_after: float | None = None
    """Seconds until it may be asked again, if its circuit is open."""
    circuit: Circuit | None = None
    """None if it is not configured."""
    abilities: Abilities | None = None
    has_threads: bool = False
    """Whether it answers on threads, with their history."""
    models: tuple[NamedModel, ...] = ()

    @property
    def settings(self) -> list[str]:
        """The settings that would make it available."""
        return settings_named(self.unavailable or "")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models of the app."""

    router: Router
    settings: AppSettings
    prices: PriceTable
    limits: OptionLimits

    @property
    def default_names(self) -> tuple[str | None, ...]:
        """The default model of each configured type; None while its name is not known."""
        return tuple(model.backend.model for model in self.router.models.values())

    def entries(self) -> list[ModelEntry]:
        """Every type of model, those that the app can be configured for first."""
        kinds = dict.fromkeys((*DEFAULT_ORDER, *ModelType))
        return [self._entry(kind) for kind in kinds]

    def _entry(self, kind: ModelType) -> ModelEntry:
        model = self.router.models.get(kind)
        if model is None:
            return ModelEntry(kind, unavailable=WHAT_TO_SET[kind])
        unavailable, retry_after = _obstacle(model)
        foundry, is_foundry = self.settings.foundry, kind is ModelType.FOUNDRY_AGENT_SERVICE
        stores_history = self.settings.storage.record_content
        return ModelEntry(
            kind,
            agent_id=foundry.agent_id or None if is_foundry else None,
            unavailable=unavailable,
            retry_after=retry_after,
            circuit=model.breaker.circuit,
            abilities=model.backend.abilities,
            has_threads=foundry.enable_stateful_threads if is_foundry else stores_history,
            models=tuple(self._named(model)),
        )

    def _named(self, model: Model) -> Iterable[NamedModel]:
        """The default model of a backend, then those that requests to it may name."""
        backend, allowed = model.backend, self.limits.models
        names = dict.fromkeys([backend.model] if backend.model else [])
        if backend.abilities.model and backend.model_type is ModelType.FOUNDRY_AGENT_SERVICE:
            others = {*self.settings.models.names, ANY_MODEL}
            names |= dict.fromkeys(sorted(allowed - others))
        for name in names:
            can_be_named = backend.abilities.model and not allowed.isdisjoint({name, ANY_MODEL})
            yield NamedModel(name, name == backend.model, can_be_named, self.prices.of(name))


def _obstacle(model: Model) -> tuple[str | None, float | None]:
    """Why a configured model cannot be asked now, and for how many seconds, if that is known."""
    try:
        model.backend.connect()
    except ConfigurationError as error:
        return error.message, None
    if not model.breaker.retry_after():
        return None, None
    error = circuit_open(model)
    return error.message, error.retry_after


def settings_named(text: str) -> list[str]:
    """The settings that a text names, in its order."""
    known = AppSettings.all_variables()
    return list(dict.fromkeys(name for name in _BETWEEN_WORDS.split(text) if name in known))
