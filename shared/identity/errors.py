"""The errors of getting a token.

CredentialSettingsError   (a ValueError) settings that configure no usable credential
IdentityError             (azure-core's ClientAuthenticationError) no token could be obtained
└── ExchangeError         Microsoft Entra refused a leg of the agent identity exchange

No error contains a form, an assertion or a token.
"""

from __future__ import annotations

from enum import IntEnum

from azure.core.exceptions import AzureError, ClientAuthenticationError

from .aadsts import fix_for


class CredentialSettingsError(ValueError):
    """The settings configure no usable credential; the text says which to correct and how."""


class Leg(IntEnum):
    """The steps of the agent identity exchange."""

    ASSERTION = 0
    """The managed identity, a certificate or a secret authenticates the blueprint."""
    BLUEPRINT = 1
    """The blueprint gets the token T1 for its agent identity."""
    AGENT = 2
    """The agent identity exchanges T1 for a token for the resource."""


_ACTORS = {
    Leg.ASSERTION: "credential of the blueprint",
    Leg.BLUEPRINT: "blueprint",
    Leg.AGENT: "agent",
}


class IdentityError(ClientAuthenticationError):
    """No token could be obtained; the text says why and what to do."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient
        """Whether the same request may succeed later without a change."""


class ExchangeError(IdentityError):
    """A leg of the agent identity exchange failed."""

    def __init__(
        self,
        leg: Leg,
        reason: str,
        *,
        aadsts: int | None = None,
        correlation_id: str | None = None,
        transient: bool = False,
    ) -> None:
        text = f"Leg {leg.value} ({_ACTORS[leg]}) of the agent identity exchange failed: {reason}."
        if fix := fix_for(aadsts):
            text += f" {fix}"
        if correlation_id:
            text += f" Correlation id {correlation_id}."
        super().__init__(text, transient=transient)
        self.leg = leg
        self.aadsts = aadsts
        """The number of Entra's error code, without the prefix `AADSTS`."""
        self.correlation_id = correlation_id
        """Identifies the request in Entra's sign-in logs and for Microsoft's support."""


def first_line(error: AzureError) -> str:
    """The first line of an Azure error's message; the lines below repeat it."""
    return str(error.message).partition("\n")[0].strip()
