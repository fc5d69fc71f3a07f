"""Which models answer for a domain, best first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..config import SettingsError
from .model_types import DEFAULT_ORDER, ModelType

ANY_DOMAIN = "*"


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
    def parse(cls, setting: str) -> Preferences:
        """Read ``domain=type,type; domain=type``; `*` is any domain that is not named.

        Raises:
            SettingsError: saying what is wrong with `MODEL_PREFERENCES`.
        """
        by_domain: dict[str, tuple[ModelType, ...]] = {}
        for part in filter(None, (part.strip() for part in setting.split(";"))):
            domain, equals, listed = part.partition("=")
            names = [name.strip().lower() for name in listed.split(",")]
            unknown = [name for name in names if name not in set(DEFAULT_ORDER)]
            if not equals or not domain.strip() or unknown:
                problem = (
                    f"MODEL_PREFERENCES cannot be read at '{part}': write domain=model,model with "
                    f"';' between domains; models are {', '.join(DEFAULT_ORDER)}"
                )
                raise SettingsError([problem])
            by_domain[domain.strip().lower()] = tuple(ModelType(name) for name in names)
        return cls(by_domain)
