"""Tokens for Microsoft Graph: of a pipeline, of a person, or of an earlier step.

azure-identity is imported only where it is used, so that the rest runs without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from infra.scripts.graph import GraphError

GRAPH_SCOPE = "https://graph.microsoft.com/.default"
DELEGATED_SCOPES = [
    f"https://graph.microsoft.com/{permission}"
    for permission in (
        "AgentIdentityBlueprint.ReadWrite.All",
        "AgentIdentityBlueprint.AddRemoveCreds.All",
        "AgentIdentityBlueprintPrincipal.ReadWrite.All",
        "AgentIdentity.ReadWrite.All",
    )
]
GRAPH_COMMAND_LINE_TOOLS = "14d82eec-204b-4c2f-b7e8-296a70dab67e"
"""Microsoft's public client for Graph commands, as Connect-MgGraph uses it."""


def azure_cli_token(_: str) -> Callable[[], str]:
    """Tokens of the Azure CLI's account, which is a service principal in a pipeline."""
    from azure.identity import AzureCliCredential

    credential = AzureCliCredential()
    return lambda: credential.get_token(GRAPH_SCOPE).token


def device_code_token(tenant_id: str) -> Callable[[], str]:
    """Tokens of a person, who signs in with a code on any device."""
    from azure.identity import DeviceCodeCredential

    credential = DeviceCodeCredential(GRAPH_COMMAND_LINE_TOOLS, tenant_id=tenant_id)
    return lambda: credential.get_token(*DELEGATED_SCOPES).token


def given_token(_: str) -> Callable[[], str]:
    """The token in GRAPH_ACCESS_TOKEN, from an earlier step."""
    token = os.environ.get("GRAPH_ACCESS_TOKEN", "")
    if not token:
        raise GraphError("GRAPH_ACCESS_TOKEN is not set.")
    return lambda: token


SIGN_IN = {
    "azure-cli": azure_cli_token,
    "device-code": device_code_token,
    "token": given_token,
}
