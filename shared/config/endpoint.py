"""Parses the endpoint URL of Foundry and the id of an agent.

A *project endpoint* has agents and conversations, and accepts Entra tokens only. A *resource
endpoint* has models but no conversations, and also accepts an API key. A URL without a path, as in
the Azure portal, is a resource endpoint.
https://learn.microsoft.com/azure/ai-foundry/foundry-models/concepts/endpoints
"""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

_PROJECT_PATH = re.compile(r"^(?P<project>/api/projects/[^/]+)(?:/openai/v1)?$")
_RESOURCE_PATHS = {"", "/openai/v1"}
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_AGENT_NAME = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")
_GUID = re.compile(r"^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")

MAX_IDENTITY_LENGTH = 256
"""The longest agent id that is only a label; Foundry's metadata allows twice as much."""


class Surface(StrEnum):
    """The two families of Foundry endpoints."""

    PROJECT = "project"
    RESOURCE = "resource"


def locate(url: str) -> tuple[Surface, str]:
    """Return the kind of an endpoint URL, and its root URL without a trailing slash.

    Raises:
        ValueError: if the URL is insecure, or is not that of a Foundry endpoint.
    """
    try:
        parts = split_url(url)
    except ValueError as error:
        raise _unusable(str(error)) from None
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    if project := _PROJECT_PATH.match(path):
        return Surface.PROJECT, origin + project["project"]
    if path in _RESOURCE_PATHS:
        return Surface.RESOURCE, origin
    raise _unusable("its path leads to no Foundry surface")


def split_url(url: str, *, with_credentials: bool = True) -> SplitResult:
    """Parse the URL of a service; credentials need https, or a server on this machine.

    Raises:
        ValueError: saying why it cannot be used.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("it is not a URL") from None
    is_plain = not (parts.query or parts.fragment or parts.username or port == 0)
    if not host or parts.scheme not in {"http", "https"} or not is_plain or _has_gaps(url):
        raise ValueError("it is not a plain http(s) URL")
    if parts.scheme == "http" and host not in _LOOPBACK and with_credentials:
        raise ValueError("http:// would send credentials in the clear; use https://")
    return parts


def _has_gaps(url: str) -> bool:
    """Whether a URL contains white space or an unprintable character."""
    return " " in url or not url.isprintable()


def _unusable(reason: str) -> ValueError:
    return ValueError(
        f"FOUNDRY_AGENT_SERVICE_ENDPOINT cannot be used: {reason}. Use the project endpoint "
        "https://<account>.services.ai.azure.com/api/projects/<project>, or for models without "
        "agents https://<account>.services.ai.azure.com/openai/v1."
    )


def agent_name(agent_id: str) -> tuple[str, str | None]:
    """Parse the id of a project's agent into its name and its version, if it has one.

    Raises:
        ValueError: if it is not a name, or a name and a version.
    """
    name, colon, version = agent_id.partition(":")
    if _GUID.match(name) or agent_id.startswith("asst_"):
        raise ValueError(
            "FOUNDRY_AGENT_ID holds a GUID or a classic asst_ id; the Agent Service addresses "
            "agents by name. Set it to the agent's name, or name:version."
        )
    if not _AGENT_NAME.match(name) or ":" in version or (colon and not version):
        raise ValueError(
            "FOUNDRY_AGENT_ID must be an agent's name (1-63 letters, digits or hyphens), "
            "or name:version."
        )
    return name, version or None


def check_identity(agent_id: str) -> None:
    """Check an agent's id at a resource endpoint, where it is only a label.

    Raises:
        ValueError: if it is too long or unprintable.
    """
    if len(agent_id) > MAX_IDENTITY_LENGTH or not agent_id.isprintable():
        raise ValueError(
            f"FOUNDRY_AGENT_ID must be at most {MAX_IDENTITY_LENGTH} printable characters."
        )
