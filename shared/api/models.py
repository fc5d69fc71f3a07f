"""`GET /models`: the models that can be asked, what each takes and costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..config import ModelType
from ..config.spending import ModelPrice
from ..documents import Document
from ..http.answers import Answer
from ..http.request import Incoming
from ..orchestration.breaker import Circuit
from ..orchestration.catalogue import Catalogue, ModelEntry
from ..state.client_keys import NOT_IN_KEY, KeyTerms
from ..turns.options import ANY_MODEL


class PriceDocument(Document):
    """What a million tokens of a model cost, in the currency of the answer."""

    input: float
    output: float
    cached: float
    """Cached input tokens."""


class NamedModelDocument(Document):
    """A model by its name."""

    name: str
    is_default: bool
    """Whether it answers if a request has no `model`."""
    can_be_named: bool
    """Whether a request's `model` may name it."""
    price: PriceDocument | None
    """Null if no price is configured for it."""


class TakesDocument(Document):
    """What a request to a model may contain."""

    streaming: bool
    tools: bool
    images: bool
    """What an image shows is seen only by a model that takes images."""
    response_format: bool
    system_prompt: bool
    model: bool
    """Another model than the default one."""
    sampling: bool
    """`temperature` and `top_p`."""
    threads: bool
    """A thread, whose history goes along."""


class BreakerDocument(Document):
    """The circuit breaker of a model in the instance that answers."""

    circuit: Circuit
    retry_after: float | None
    """Seconds until the model is asked again; null while the circuit is closed."""


class ModelEntryDocument(Document):
    """A type of model, which requests select by `model_type`."""

    model_type: ModelType
    is_available: bool
    unavailable: str | None
    """Why it cannot be asked, and what to do."""
    settings: list[str]
    """The settings that `unavailable` names."""
    agent_id: str | None
    """The Foundry agent that answers; null for a model called directly."""
    models: list[NamedModelDocument]
    """Empty if an agent or the server decides which model answers."""
    takes: TakesDocument | None
    """Null if it is not configured."""
    breaker: BreakerDocument | None
    """Null if it is not configured."""


class MaxTokensDocument(Document):
    """The most tokens of an answer."""

    default: int
    """If a request has no `max_tokens`."""
    limit: int
    """The highest `max_tokens` that a request may have."""


class ModelsDocument(Document):
    """The models of the app."""

    default: ModelType
    """Asked by messages, threads and jobs that have no `model_type`."""
    order: dict[str, list[ModelType]]
    """The models of each domain, best first, of `/orchestrate` and of requests with a
    `model_type`; `*` stands for all other domains."""
    takes_any_model: bool
    """Whether a request's `model` may name any model."""
    max_tokens: MaxTokensDocument
    currency: str
    data: list[ModelEntryDocument]


@dataclass(frozen=True, slots=True)
class ModelsApi:
    """Handlers of `/models`."""

    catalogue: Catalogue

    async def list_(self, incoming: Incoming) -> Answer:
        """Every type of model, as the caller may ask it; reads nothing and calls no model."""
        terms = incoming.principal.terms
        catalogue = self.catalogue
        limits, foundry = catalogue.limits, catalogue.settings.foundry
        document: ModelsDocument = {
            "default": ModelType.FOUNDRY_AGENT_SERVICE,
            "order": catalogue.router.orders(),
            "takes_any_model": ANY_MODEL in limits.models,
            "max_tokens": {"default": foundry.max_tokens, "limit": limits.max_tokens},
            "currency": catalogue.prices.currency,
            "data": [_entry(_allowed(each, terms)) for each in catalogue.entries()],
        }
        return Answer({**document})


def _allowed(entry: ModelEntry, terms: KeyTerms | None) -> ModelEntry:
    """The models of an entry that the caller's client key allows."""
    if terms is None or terms.models is None:
        return entry
    kind = entry.model_type
    models = tuple(each for each in entry.models if terms.allows_model(kind, each.name))
    if models or terms.allows_model(kind, None):
        return replace(entry, models=models)
    return replace(entry, models=(), unavailable=entry.unavailable or NOT_IN_KEY)


def _entry(entry: ModelEntry) -> ModelEntryDocument:
    return {
        "model_type": entry.model_type,
        "is_available": entry.unavailable is None,
        "unavailable": entry.unavailable,
        "settings": entry.settings,
        "agent_id": entry.agent_id,
        "models": [
            {
                "name": each.name,
                "is_default": each.is_default,
                "can_be_named": each.can_be_named,
                "price": _price(each.price),
            }
            for each in entry.models
        ],
        "takes": _takes(entry),
        "breaker": {"circuit": entry.circuit, "retry_after": entry.retry_after}
        if entry.circuit
        else None,
    }


def _takes(entry: ModelEntry) -> TakesDocument | None:
    able = entry.abilities
    if able is None:
        return None
    return {
        "streaming": True,
        "tools": able.tools,
        "images": able.images,
        "response_format": able.response_format,
        "system_prompt": able.system_prompt,
        "model": able.model,
        "sampling": able.sampling,
        "threads": entry.has_threads,
    }


def _price(price: ModelPrice | None) -> PriceDocument | None:
    if price is None:
        return None
    cached = price.input if price.cached is None else price.cached
    return {"input": float(price.input), "output": float(price.output), "cached": float(cached)}
