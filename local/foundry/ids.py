"""Identifiers in the service's format: a prefix, then 48 opaque letters and digits."""

import secrets

_OPAQUE_LENGTH = 48
_ITEM_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
    "mcp_approval_request": "mcpr",
    "mcp_approval_response": "mcpa",
    "oauth_consent_request": "oauth",
}


def new_id(prefix: str) -> str:
    """Create an identifier such as `conv_...`."""
    return f"{prefix}_{secrets.token_hex(_OPAQUE_LENGTH // 2)}"


def new_item_id(item_type: str) -> str:
    """Create the identifier of an item of this type."""
    return new_id(_ITEM_PREFIXES.get(item_type, "item"))


def is_well_formed(identifier: str, prefix: str) -> bool:
    """Whether an identifier has the service's format."""
    opaque = identifier.removeprefix(f"{prefix}_")
    is_long_enough = len(identifier) == len(prefix) + 1 + _OPAQUE_LENGTH
    return (
        is_long_enough and len(opaque) == _OPAQUE_LENGTH and opaque.isascii() and opaque.isalnum()
    )
