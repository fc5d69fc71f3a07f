"""Explains refusals of Azure Storage, and how to fix them, by the service's error code.

https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

_NETWORK = (
    "its network rules block the app: allow the app's virtual network, or connect a "
    "private endpoint; if they do, give the app's identity the role '{role}'"
)
_ROLE = (
    "give the app's identity the role '{role}' on the storage account; a new assignment takes some "
    "minutes to apply"
)
_CREDENTIAL = (
    "check the key in AzureWebJobsStorage, or that the app's identity (AZURE_CLIENT_ID) has the "
    "role '{role}', and that the machine's clock is right"
)
_FULL = (
    "the account is full or over one of its limits: delete data, shorten the retention settings, "
    "or use another account"
)

_FIXES = {
    "AuthorizationFailure": _NETWORK,
    "AuthorizationPermissionMismatch": _ROLE,
    "InsufficientAccountPermissions": _ROLE,
    "KeyBasedAuthenticationNotPermitted": (
        "the account does not accept keys: replace the connection string AzureWebJobsStorage by "
        "AzureWebJobsStorage__accountName, which signs in with the app's identity"
    ),
    "AuthenticationFailed": _CREDENTIAL,
    "InvalidAuthenticationInfo": _CREDENTIAL,
    "NoAuthenticationInformation": _CREDENTIAL,
    "AccountIsDisabled": (
        "the account is disabled: its subscription is suspended or the account was locked; enable "
        "it in the Azure portal"
    ),
    "AccountBeingCreated": "the account is still being created: wait some minutes",
    "StorageAccountBeingCreated": "the account is still being created: wait some minutes",
    "TableBeingDeleted": "the table is being deleted: wait some minutes, or name another one",
    "QueueBeingDeleted": "the queue is being deleted: wait some minutes, or name another one",
    "QueueDisabled": "an administrator has disabled the queue: enable it in the Azure portal",
    "AccountLimitExceeded": _FULL,
    "AccountQuotaExceeded": _FULL,
    "InsufficientStorage": _FULL,
    "StorageCapacityExceeded": _FULL,
}
_LIMIT_WORDS = ("LimitExceeded", "QuotaExceeded", "CapacityExceeded")
_SLOW_DOWN = {"AccountIOPSLimitExceeded"}
"""Rate limits, which are temporary."""


def refusal(error: AzureError, service: str, role: str) -> str | None:
    """Why a service such as Table Storage refuses the app; None for other errors.

    ``role`` is the role that the app's identity needs there.
    """
    if not isinstance(error, HttpResponseError):
        return None
    if isinstance(error, ClientAuthenticationError) and error.status_code is None:
        return _sentence(code_of(error), _CREDENTIAL, service, role)  # there is no token
    return explain(error.status_code, code_of(error), service, role)


def explain(status: int | None, code: str, service: str, role: str) -> str | None:
    """Why an answer with a status and a service's code refuses the app; None for other answers."""
    fix = _FIXES.get(code)
    if fix is None and code.endswith(_LIMIT_WORDS) and code not in _SLOW_DOWN:
        fix = _FULL
    if fix is None and status == HTTPStatus.INSUFFICIENT_STORAGE:
        fix = _FULL
    if fix is None and status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        fix = _ROLE
    return _sentence(code, fix, service, role) if fix else None


def _sentence(code: str, fix: str, service: str, role: str) -> str:
    named = f" ({code})" if code else ""
    return f"{service} refuses the app{named}: {fix.format(role=role)}."


def code_of(error: HttpResponseError) -> str:
    """The storage service's code of an error; empty without one."""
    code: Any = getattr(error, "error_code", None)
    response: Any = error.response
    if not code and response is not None:
        code = response.headers.get("x-ms-error-code")
    return str(getattr(code, "value", code) or "")
