"""The settings of the emulator, and their environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.model import BackendSettings

PROJECT_AUDIENCE = "https://ai.azure.com"
RESOURCE_AUDIENCE = "https://cognitiveservices.azure.com"


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """The settings of one emulator."""

    project: str = "local"
    """The project's name in `/api/projects/{project}`."""
    state_path: Path | None = None
    """The SQLite file that holds the state; in memory when None."""
    backend: BackendSettings = field(default_factory=BackendSettings)
    tokens: frozenset[str] = frozenset({"local-token"})
    """Bearer tokens accepted by their text, with the project's audience and every role."""
    tokens_without_role: frozenset[str] = frozenset({"local-token-without-role"})
    """Bearer tokens of a principal that lacks the data action: 401 PermissionDenied."""
    api_keys: frozenset[str] = frozenset({"local-key"})
    """Keys of the resource endpoint."""
    identity_header: str = "local-identity"
    """The secret a caller of the managed-identity endpoint sends as `X-IDENTITY-HEADER`."""


def from_environment(
    project: str, state_path: Path | None, environ: Mapping[str, str] | None = None
) -> EmulatorSettings:
    """Read the settings from `FOUNDRY_LOCAL_*` variables.

    Raises:
        ValueError: A variable is not a number; the text names it.
    """
    variables = os.environ if environ is None else environ
    defaults = EmulatorSettings()
    return EmulatorSettings(
        project=project,
        state_path=state_path,
        backend=BackendSettings(
            backend=variables.get("FOUNDRY_LOCAL_BACKEND") or "smollm2",
            model=variables.get("FOUNDRY_LOCAL_BACKEND_MODEL") or None,
            api_key=variables.get("FOUNDRY_LOCAL_BACKEND_API_KEY") or None,
            context_tokens=int(_number(variables, "FOUNDRY_LOCAL_BACKEND_CONTEXT", 32_768)),
            token_delay_seconds=_number(variables, "FOUNDRY_LOCAL_TOKEN_DELAY", 0.0),
        ),
        tokens=_names(variables, "FOUNDRY_LOCAL_TOKENS", defaults.tokens),
        api_keys=_names(variables, "FOUNDRY_LOCAL_API_KEYS", defaults.api_keys),
        identity_header=variables.get("FOUNDRY_LOCAL_IDENTITY_HEADER") or defaults.identity_header,
    )


def _number(variables: Mapping[str, str], name: str, default: float) -> float:
    text = variables.get(name)
    if not text:
        return default
    try:
        return float(text)
    except ValueError:
        message = f"{name} must be a number, not {text!r}"
        raise ValueError(message) from None


def _names(variables: Mapping[str, str], name: str, default: frozenset[str]) -> frozenset[str]:
    names = frozenset(part.strip() for part in variables.get(name, "").split(",") if part.strip())
    return names or default
