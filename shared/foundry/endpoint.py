"""Which Foundry surface an endpoint URL leads to, and which agent a setting names.

A *project endpoint* offers agents and conversations and takes Entra tokens only; a *resource
endpoint* offers models and takes an API key as well, but has no conversations.
https://learn.microsoft.com/azure/ai-foundry/foundry-models/concepts/endpoints
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from .errors import ConfigurationError

NOT_CONFIGURED = (
    "Foundry Agent Service endpoint URL not configured: set FOUNDRY_AGENT_SERVICE_ENDPOINT to "
    "your project endpoint, https://<account>.services.ai.azure.com/api/projects/<project>."
)

_PROJECT_PATH = re.compile(r"^(?P<project>/api/projects/[^/]+)(?:/openai/v1)?$")
_RESOURCE_PATH = "/openai/v1"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_AGENT_NAME = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")
_GUID = re.compile(r"^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")


class Surface(StrEnum):
    """The two families of Foundry endpoints."""

    PROJECT = "project"
    RESOURCE = "resource"


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
            parts = split_url(url)
        except ValueError as error:
            raise _unusable(str(error)) from None
        path = parts.path.rstrip("/")
        origin = f"{parts.scheme}://{parts.netloc}"
        if project := _PROJECT_PATH.match(path):
            return cls(Surface.PROJECT, origin + project["project"])
        if path == _RESOURCE_PATH:
            return cls(Surface.RESOURCE, origin)
        if not path:
            raise _unusable("the path is missing")
        raise _unusable(f"the path {path!r} leads to no Foundry surface")


def split_url(url: str, *, with_credentials: bool = True) -> SplitResult:
    """The parts of a service's URL.

    Raises:
        ValueError: saying why it cannot be used; credentials go over https or to this machine.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise ValueError("it is not a URL") from None
    if not host or parts.scheme not in {"http", "https"} or parts.query or parts.username:
        raise ValueError("it is not a plain http(s) URL")
    if parts.scheme == "http" and host not in _LOOPBACK and with_credentials:
        raise ValueError("http:// would send credentials in the clear; use https://")
    return parts


def _unusable(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"FOUNDRY_AGENT_SERVICE_ENDPOINT cannot be used: {reason}. Use the project endpoint "
        "https://<account>.services.ai.azure.com/api/projects/<project>, or for models without "
        "agents https://<account>.services.ai.azure.com/openai/v1."
    )


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
        name, _, version = agent_id.partition(":")
        if _GUID.match(name) or agent_id.startswith("asst_"):
            raise ConfigurationError(
                "FOUNDRY_AGENT_ID holds a GUID or a classic asst_ id; the Agent Service addresses "
                "agents by name. Set it to the agent's name, or name:version."
            )
        if not _AGENT_NAME.match(name) or ":" in version or (":" in agent_id and not version):
            raise ConfigurationError(
                "FOUNDRY_AGENT_ID must be an agent's name (1-63 letters, digits or hyphens), "
                "or name:version."
            )
        return cls(name, version or None)

    def to_json(self) -> dict[str, str]:
        """The `agent_reference` of a request."""
        reference = {"type": "agent_reference", "name": self.name}
        return reference | {"version": self.version} if self.version else reference
