"""The kinds of models that settings can name, and which of them answer for a domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

ANY_DOMAIN = "*"


class ModelType(StrEnum):
    """A kind of model; its value is what settings, results and HTTP bodies say."""

    VLLM = "vllm"
    AZURE_ML = "azure_ml"
    OPENAI = "openai"
    AZURE_OPENAI = "azure_openai"
    AGENT_FRAMEWORK = "agent_framework"
    SEMANTIC_KERNEL = "semantic_kernel"
    LOCAL_MODEL = "local_model"
    FOUNDRY_AGENT_SERVICE = "foundry_agent_service"


DEFAULT_ORDER = (
    ModelType.FOUNDRY_AGENT_SERVICE,
    ModelType.VLLM,
    ModelType.AZURE_ML,
    ModelType.AZURE_OPENAI,
    ModelType.OPENAI,
)
"""Which model is preferred where settings do not say."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """The order of models for each domain."""

    by_domain: Mapping[str, tuple[ModelType, ...]] = field(
        default_factory=dict[str, tuple[ModelType, ...]]
    )

    def order(self, domain: str) -> tuple[ModelType, ...]:
        """The models for a domain; letter case does not count."""
        found = self.by_domain.get(domain.lower())
        return found or self.by_domain.get(ANY_DOMAIN) or DEFAULT_ORDER

    @classmethod
    def parse(cls, setting: str) -> Self:
        """Read ``domain=type,type; domain=type``; `*` is any domain that is not named.

        Raises:
            ValueError: saying which entry cannot be read.
        """
        by_domain: dict[str, tuple[ModelType, ...]] = {}
        entries = filter(None, (part.strip() for part in setting.split(";")))
        for position, entry in enumerate(entries, 1):
            domain, equals, listed = entry.partition("=")
            domain = domain.strip().lower()
            names = [name.strip().lower() for name in listed.split(",")]
            unknown = [name for name in names if name not in set(DEFAULT_ORDER)]
            if not equals or not domain or unknown:
                raise ValueError(
                    f"entry {position} cannot be read: write domain=model,model with ';' between "
                    f"domains; models are {', '.join(DEFAULT_ORDER)}"
                )
            if domain in by_domain:
                raise ValueError(f"entry {position} names a domain that an earlier one names")
            by_domain[domain] = tuple(ModelType(name) for name in names)
        return cls(by_domain)
