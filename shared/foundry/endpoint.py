"""Which Foundry surface an endpoint URL leads to, and which agent a setting names."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.endpoint import Surface, agent_name, locate
from .errors import ConfigurationError

__all__ = ["NOT_CONFIGURED", "AgentReference", "Endpoint", "Surface"]

NOT_CONFIGURED = (
    "Foundry Agent Service endpoint URL not configured: set FOUNDRY_AGENT_SERVICE_ENDPOINT to "
    "your project endpoint, https://<account>.services.ai.azure.com/api/projects/<project>."
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked endpoint URL."""

    surface: Surface
    root: str
    """URL of the project, or of the resource; no trailing slash."""

    @property
    def openai(self) -> str:
        """Base URL of responses and conversations; takes no `api-version`."""
        return f"{self.root}/openai/v1"

    @property
    def has_conversations(self) -> bool:
        """Whether a thread can be a Foundry conversation; else it is a chain of responses."""
        return self.surface is Surface.PROJECT

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Recognise an endpoint URL.

        Raises:
            ConfigurationError: if it is empty, insecure, or leads to no usable surface.
        """
        if not url:
            raise ConfigurationError(NOT_CONFIGURED)
        try:
            return cls(*locate(url))
        except ValueError as error:
            raise ConfigurationError(str(error)) from None


@dataclass(frozen=True, slots=True)
class AgentReference:
    """An agent by name, and by version where one is pinned."""

    name: str
    version: str | None = None

    @classmethod
    def parse(cls, agent_id: str) -> AgentReference | None:
        """Read `name` or `name:version`; None where no agent is configured.

        Raises:
            ConfigurationError: for ids that the current Agent Service does not know.
        """
        if not agent_id:
            return None
        try:
            return cls(*agent_name(agent_id))
        except ValueError as error:
            raise ConfigurationError(str(error)) from None

    def to_json(self) -> dict[str, str]:
        """The `agent_reference` of a request."""
        reference = {"type": "agent_reference", "name": self.name}
        return reference | {"version": self.version} if self.version else reference
