"""What each error code of Microsoft Entra means in the agent identity exchange, and its fix.

The texts are for error messages only; no code branches on them.
https://learn.microsoft.com/entra/identity-platform/reference-error-codes
"""

from __future__ import annotations

_WRONG_SUBJECT = (
    "The blueprint trusts another managed identity: set the subject of its federated credential "
    "to the managed identity's principal id (object id, not client id; letter case counts)."
)
_WRONG_SCOPE = "The scope must be the resource followed by '/.default'."

FIXES: dict[int, str] = {
    82001: (
        "The blueprint requested a resource token, which only its agent identity may: check "
        "that FOUNDRY_AGENT_IDENTITY_CLIENT_ID names the agent identity and not the blueprint. "
        "Roles of the blueprint do not help."
    ),
    82002: (
        "The blueprint cannot act on behalf of a user: check that FOUNDRY_AGENT_IDENTITY_CLIENT_ID "
        "names the agent identity and not the blueprint."
    ),
    700211: (
        "The blueprint does not trust the issuer: set AZURE_TENANT_ID to the agent identity's home "
        "tenant, and the issuer of the blueprint's federated credential to "
        "https://login.microsoftonline.com/<tenant>/v2.0."
    ),
    700213: _WRONG_SUBJECT,
    7002137: _WRONG_SUBJECT,
    7002138: _WRONG_SUBJECT,
    70021: _WRONG_SUBJECT,
    700231: (
        "The assertion was itself made from a federated credential: assign a managed identity to "
        "the app, so that the token comes from the platform, or use a certificate."
    ),
    700024: (
        "The assertion has expired or is not valid yet: check the machine's clock; the next "
        "attempt requests a new one."
    ),
    700016: (
        "The application is not in this tenant: check that the client ids and AZURE_TENANT_ID are "
        "not swapped, and that the blueprint has its principal in the tenant."
    ),
    7000215: (
        "The secret is wrong: set FOUNDRY_AGENT_BLUEPRINT_CLIENT_SECRET to its value, not its id; "
        "a new secret works after about 30 seconds."
    ),
    7000216: (
        "No assertion and no secret was sent: assign a managed identity, or for development set a "
        "certificate or a secret of the blueprint."
    ),
    9002324: (
        "A secret and an assertion were both sent: set only one of "
        "FOUNDRY_AGENT_BLUEPRINT_CLIENT_SECRET and FOUNDRY_AGENT_BLUEPRINT_CERTIFICATE_PATH."
    ),
    1002012: _WRONG_SCOPE,
    70011: _WRONG_SCOPE,
    50013: "The user's token has the wrong audience: request a token for the blueprint.",
    65001: (
        "Consent is missing: grant the agent identity the app role or permission on the resource; "
        "a new grant takes up to two minutes."
    ),
    500011: (
        "The tenant does not know the resource: check the audience, and that the resource's "
        "application still has its identifier URI."
    ),
    53003: "A Conditional Access policy blocks the agent: allow it in the policy for agents.",
    50196: "Entra got too many identical requests: create one credential per process and reuse it.",
}


def fix_for(code: int | None) -> str:
    """The fix for an error code; empty for a code that is not in the table."""
    return FIXES.get(code, "") if code else ""
