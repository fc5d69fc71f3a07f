"""`GET /models`, and which model the `model` of a request means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ..config import ModelType
from ..documents import Document
from ..http.answers import Answer
from ..http.request import Incoming
from ..orchestration.catalogue import Catalogue
from ..problems import FieldError, Problem, ProblemError, ProblemKind
from ..state.client_keys import NOT_IN_KEY, KeyTerms
from ..turns.options import ANY_MODEL

AGENT_PREFIX = "agent:"
"""Before the name of the configured agent in `model`."""

MAX_LISTED = 50
"""The most names in the detail of a problem."""

CREATED = 1_735_689_600
"""The `created` of every model, which clients require: the app does not know when models were
deployed."""


class ModelDocument(Document):
    """A model that a request may name."""

    id: str
    """Goes into `model`."""
    object: Literal["model"]
    created: int
    owned_by: str
    """The type of the model."""


class ModelListDocument(Document):
    """The models that the caller may name."""

    object: Literal["list"]
    data: list[ModelDocument]


@dataclass(frozen=True, slots=True)
class Target:
    """The model that a request asks."""

    name: str
    """As the request names it."""
    kind: ModelType
    deployment: str | None = None
    """The name to ask for; None for the configured one."""
    is_type: bool = False
    """Whether the request named a type of model, which others may replace where it fails."""

    @property
    def model_type(self) -> ModelType | None:
        """The model to ask first; None if Foundry alone answers."""
        is_foundry = self.kind is ModelType.FOUNDRY_AGENT_SERVICE
        return None if is_foundry and not self.is_type else self.kind


@dataclass(frozen=True)
class ModelNames:
    """The names that `model` may have."""

    catalogue: Catalogue
    _read: dict[tuple[str | None, ...], dict[str, Target]] = field(
        default_factory=dict[tuple[str | None, ...], dict[str, Target]], init=False
    )
    """The models as they were with these default names."""

    @property
    def asks_agent(self) -> bool:
        """Whether Foundry answers with a configured agent, which has its own model."""
        return self.catalogue.settings.foundry.asks_agent

    def targets(self, terms: KeyTerms | None) -> dict[str, Target]:
        """The models that a caller may name, by name."""
        return {name: each for name, each in self._configured.items() if _allows(terms, each)}

    @property
    def _configured(self) -> dict[str, Target]:
        """All models by name.

        Settings decide them, but for a server whose first model is asked: its name is known only
        after an answer.
        """
        names = self.catalogue.default_names
        if names not in self._read:
            self._read[names] = self._by_name()
        return self._read[names]

    def _by_name(self) -> dict[str, Target]:
        """All models that are configured now; the first with a name is meant."""
        found: dict[str, Target] = {}
        kinds: dict[str, Target] = {}
        for entry in self.catalogue.entries():
            if entry.circuit is None:  # it is not configured
                continue
            kind, foundry = entry.model_type, ModelType.FOUNDRY_AGENT_SERVICE
            names = [each.name for each in entry.models if each.can_be_named or each.is_default]
            for name in names:
                asked = name if kind is foundry else None
                found.setdefault(name, Target(name, kind, asked))
            if entry.agent_id:
                found[f"{AGENT_PREFIX}{entry.agent_id}"] = self._agent(entry.agent_id)
            kinds[kind.value] = Target(kind.value, kind, is_type=True)
        return {**found, **{name: each for name, each in kinds.items() if name not in found}}

    def _agent(self, agent_id: str) -> Target:
        return Target(f"{AGENT_PREFIX}{agent_id}", ModelType.FOUNDRY_AGENT_SERVICE)

    def find(self, name: str, terms: KeyTerms | None) -> Target:
        """The model that a request names.

        Raises:
            ProblemError: 404 `model_not_found`, with the names that there are.
        """
        if target := self._configured.get(name) or self._unversioned_agent(name):
            return target
        if ANY_MODEL in self.catalogue.limits.models and not self.asks_agent:
            return Target(name, ModelType.FOUNDRY_AGENT_SERVICE, name)
        raise _unknown(name, self.targets(terms))

    def _unversioned_agent(self, name: str) -> Target | None:
        """The configured agent, if a request names it without its version."""
        agent_id = self.catalogue.settings.foundry.agent_id
        is_named = bool(agent_id) and name == f"{AGENT_PREFIX}{agent_id.partition(':')[0]}"
        return self._agent(agent_id) if is_named else None


def _allows(terms: KeyTerms | None, target: Target) -> bool:
    name = None if target.is_type or target.name.startswith(AGENT_PREFIX) else target.name
    return terms is None or terms.allows_model(target.kind, name)


def _unknown(name: str, targets: dict[str, Target]) -> ProblemError:
    listed = ", ".join(list(targets)[:MAX_LISTED])
    detail = f"There is no model {name[:100]!r} for you. The models are {listed or 'none'}."
    errors = (FieldError("model", "is not a model of this app"),)
    return ProblemError(Problem(ProblemKind.MODEL_NOT_FOUND, detail, errors=errors))


@dataclass(frozen=True, slots=True)
class ModelsApi:
    """Handlers of `/models`."""

    names: ModelNames

    async def list_(self, incoming: Incoming) -> Answer:
        """The models that the caller may name; an empty list would look like a working service."""
        targets = self.names.targets(incoming.principal.terms)
        if not targets:
            kind = ProblemKind.FORBIDDEN if self.names.targets(None) else None
            detail = NOT_IN_KEY if kind else "No model is configured."
            raise ProblemError(Problem(kind or ProblemKind.CONFIGURATION_ERROR, detail))
        return Answer({"object": "list", "data": [_document(each) for each in targets.values()]})

    async def get(self, incoming: Incoming) -> Answer:
        """One model."""
        name, terms = incoming.path["model_id"], incoming.principal.terms
        targets = self.names.targets(terms)
        if name not in targets:
            raise _unknown(name, targets)
        return Answer(_document(targets[name]))


def _document(target: Target) -> dict[str, Any]:
    model: ModelDocument = {
        "id": target.name,
        "object": "model",
        "created": CREATED,
        "owned_by": target.kind.value,
    }
    return {**model}
