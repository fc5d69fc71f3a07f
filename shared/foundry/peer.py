"""Whom a transport talks to, so that its errors name the right service and the right setting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """A service, as errors speak of it."""

    name: str
    endpoint_setting: str
    """The setting that says where the service is."""
    sign_in: str
    """What to do when it refuses the key or token (401)."""
    access: str
    """What to do when it knows the caller and lets it do nothing (403)."""
    missing: str
    """What to do when it does not know what was asked for (404)."""


FOUNDRY = Peer(
    name="Foundry",
    endpoint_setting="FOUNDRY_AGENT_SERVICE_ENDPOINT",
    sign_in="Check the API key, or that the token was issued for https://ai.azure.com.",
    access=(
        "Give the app's identity the role 'Foundry User' (formerly 'Azure AI User') on the "
        "Foundry project; a new assignment takes some minutes to apply."
    ),
    missing="Check the names of agent and model deployment; conversations can expire.",
)
