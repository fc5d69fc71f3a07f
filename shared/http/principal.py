"""Authenticates the caller and decides whose data a request may see.

| `AUTH_MODE` | the Functions host requires | the principal header | the owner is |
|---|---|---|---|
| `function` | a function key | is ignored | `key` |
| `entra` | nothing | is required and validated | `tid:oid` |
| `both` | a function key | is validated if present | `tid:oid`, else `key` |
| `keys` | nothing | is ignored | that of the client key, which is required |
| `anonymous` | nothing | is ignored | `anonymous` |

`both` always requires a key. The host checks keys before the app sees a request, and the app cannot
check them itself, so it could not distinguish a wrong key from a missing one.

In the modes `function` and `both`, a client key is not required, but one that is sent identifies
the caller. In the mode `entra` it is ignored.

A principal without a token or key in the request comes from a browser's session (`sessions`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

from starlette.requests import Request

from ..audit.trail import Caller
from ..config import GUID, AccessSettings, AuthMode, names_in
from ..problems import Problem, ProblemError, ProblemKind
from ..state.client_keys import ClientKey, KeyTerms
from ..state.owners import (
    ANONYMOUS_OWNER,
    KEY_OWNER,
    NO_OWNER,
    canonical_owner,
    client_key_owner,
    entra_owner,
)
from .client_keys import NO_KEY, TWO_KEYS, KeyVerifier, key_in
from .easy_auth import PRINCIPAL_HEADER, Claims, PrincipalHeaderError, read_principal
from .forwarded import origin_of
from .sessions import check_own_page, is_session

log = logging.getLogger(__name__)

OWNER_FORMS = "owner must be <tenant id>:<object id>, key, key:<key id> or anonymous."
OWNER_PARAMETER = "owner"
"""The query parameter by which an admin names an owner."""

RESOURCE_METADATA = "/.well-known/oauth-protected-resource"
"""Served by App Service authentication.
https://learn.microsoft.com/azure/app-service/configure-authentication-mcp"""

_GUID = re.compile(GUID)


class Role(StrEnum):
    """An app role, defined in the app registration."""

    USE = "Agents.Use"
    """Access to the caller's own data. A delegated permission (scope) also grants it."""
    ADMIN = "Agents.Admin"
    """Access to the data of every owner. Granted only as an app role, never as a scope."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    owner: str
    """The owner of all data that the request may see."""
    subject: str
    """The caller: an Entra object id, the id of its client key, or a fixed name."""
    actor: str
    """The client application that the caller uses."""
    tenant: str | None
    roles: frozenset[Role]
    how: AuthMode
    """How the caller was authenticated: by a function key, by Entra, by a client key, or not at
    all."""
    departments: tuple[str, ...] = ()
    """The departments that the caller's token names, or its client key."""
    terms: KeyTerms | None = None
    """What the caller's client key allows; None without one."""

    @property
    def is_admin(self) -> bool:
        """Whether the caller may name other owners."""
        return Role.ADMIN in self.roles

    @property
    def is_operator(self) -> bool:
        """Whether the caller may see data of the whole instance.

        A caller with only a function key counts as the operator, also in the mode `both`, where
        every caller has one. In the mode `anonymous`, all callers are one owner.
        """
        return self.is_admin or self.how in {AuthMode.FUNCTION, AuthMode.ANONYMOUS}

    def caller(self, request_id: str, face: str | None = None) -> Caller:
        """The caller of one request for audit records."""
        return Caller(
            self.subject,
            self.actor,
            self.how.value,
            request_id,
            self.departments,
            self.terms,
            face,
        )


_USER = frozenset({Role.USE})
_KEY = Principal(KEY_OWNER, "key", "key", None, _USER, AuthMode.FUNCTION)
_ANONYMOUS = Principal(ANONYMOUS_OWNER, "anonymous", "anonymous", None, _USER, AuthMode.ANONYMOUS)
UNAUTHENTICATED = Principal(NO_OWNER, "anybody", "anybody", None, frozenset(), AuthMode.ANONYMOUS)
"""The caller of an open route, or of a request that is not authenticated yet."""

UNAUTHORIZED = Problem(
    ProblemKind.UNAUTHORIZED,
    "The caller is not authenticated. Send a Microsoft Entra token for this app as "
    "'Authorization: Bearer ...'; the app's log says what was wrong with this request.",
)
NO_ROLE = Problem(
    ProblemKind.FORBIDDEN,
    f"The caller needs the app role or permission {Role.USE} of this app.",
)
NOT_ADMIN = Problem(ProblemKind.FORBIDDEN, f"This requires the app role {Role.ADMIN} of this app.")


@dataclass(frozen=True, slots=True)
class Access:
    """Authenticates the caller of a request."""

    settings: AccessSettings
    keys: KeyVerifier
    has_console: bool = False
    """Whether people sign in to the app itself, as the web console needs."""

    def challenge(self, request: Request) -> str:
        """The `WWW-Authenticate` value for a caller without valid credentials.

        With the protected-resource metadata that App Service publishes, an MCP client finds Entra
        by itself (RFC 9728).
        """
        scopes, origin = " ".join(names_in(self.settings.mcp_scopes)), origin_of(request)
        if not (scopes and origin and self.settings.mode.knows_principals):
            return "Bearer"
        return f'Bearer resource_metadata="{origin}{RESOURCE_METADATA}", scope="{scopes}"'

    async def identify(self, request: Request) -> Principal:
        """The caller of a request, whose roles `authorized` checks later.

        Raises:
            ProblemError: 401 if the caller is not authenticated; 403 for a browser's session, if a
                page of another site may have made the request.
            StorageUnavailableError: if the caller's client key cannot be read.
        """
        mode, headers = self.settings.mode, request.headers.getlist(PRINCIPAL_HEADER)
        if mode.takes_client_keys and (sent := key_in(request.headers)) is not None:
            if headers and mode.knows_principals:
                raise ProblemError(TWO_KEYS)
            return _key_principal(await self.keys.verify(sent))
        match mode:
            case AuthMode.KEYS:
                raise ProblemError(NO_KEY)
            case AuthMode.FUNCTION:
                return _KEY
            case AuthMode.ANONYMOUS:
                return _ANONYMOUS
            case AuthMode.BOTH if not headers:
                return _KEY
            case AuthMode.BOTH | AuthMode.ENTRA:
                principal = self._entra_principal(headers, by_session=is_session(request.headers))
                if is_session(request.headers):
                    check_own_page(request)
                return principal

    def _entra_principal(self, headers: list[str], *, by_session: bool) -> Principal:
        if not self.settings.easy_auth:
            raise _unknown("App Service authentication is off (WEBSITE_AUTH_ENABLED)")
        if not headers:
            raise _unknown("there is no principal header")
        try:
            claims = read_principal(headers)
        except PrincipalHeaderError as error:
            raise _unknown(str(error)) from None
        tenant, subject = _guid(claims, "tid"), _guid(claims, "oid")
        client = self._client(claims, by_session=by_session)
        self._check(claims, tenant)
        roles = frozenset(role for role in Role if role in claims.all("roles"))
        scopes = " ".join(claims.all("scp")).split()
        if Role.ADMIN in roles or (Role.USE in scopes and not by_session):
            roles |= _USER
        return Principal(
            owner=entra_owner(tenant, subject),
            subject=subject,
            actor=client,
            tenant=tenant,
            roles=roles,
            how=AuthMode.ENTRA,
            departments=self._departments(claims),
        )

    def _departments(self, claims: Claims) -> tuple[str, ...]:
        """The departments in the token's department claim, if the settings name that claim."""
        claim = self.settings.department_claim
        return self.settings.known_departments.claimed(claims.all(claim)) if claim else ()

    def _client(self, claims: Claims, *, by_session: bool) -> str:
        """The client application; v1 tokens name it `appid`, v2 tokens `azp`.

        The token of a session names none: the client is the app itself, for which it was issued.
        """
        names = [name for name in ("azp", "appid") if claims.all(name)]
        if not names and by_session and self.has_console:
            names = ["aud"]
        clients = {_guid(claims, name) for name in names}
        if len(clients) != 1:
            raise _unknown("the token names no client application, or two")
        (client,) = clients
        allowed = _listed(self.settings.client_ids)
        if allowed and client not in allowed:
            raise _unknown("the client application is not one of AUTH_CLIENT_IDS")
        return client

    def _check(self, claims: Claims, tenant: str) -> None:
        if tenant not in _listed(self.settings.tenant_ids):
            raise _unknown("the tenant is not one of AUTH_TENANT_IDS")
        if _folded(claims.one("aud")) not in _listed(self.settings.audiences):
            raise _unknown("the audience is not one of AUTH_AUDIENCES")
        issuers = _listed(self.settings.issuers) or {
            f"https://login.microsoftonline.com/{tenant}/v2.0",
            f"https://sts.windows.net/{tenant}/",
        }
        if _folded(claims.one("iss")) not in issuers:
            raise _unknown("the issuer is not one of AUTH_ISSUERS, or of the tenant")


def _key_principal(key: ClientKey) -> Principal:
    roles = frozenset(role for role in Role if role.value in key.roles)
    return Principal(
        owner=key.owner,
        subject=client_key_owner(key.key_id),
        actor=key.label,
        tenant=None,
        roles=roles | _USER if Role.ADMIN in roles else roles,
        how=AuthMode.KEYS,
        departments=(key.department,) if key.department else (),
        terms=key.terms,
    )


def authorized(principal: Principal, request: Request) -> Principal:
    """Check the caller's roles; for an admin, switch to the owner that the request names.

    Raises:
        ProblemError: 403 for a caller without the required role, 422 for an invalid owner.
    """
    if not principal.roles:
        raise ProblemError(NO_ROLE)
    named = request.query_params.get(OWNER_PARAMETER)
    if named is None:
        return principal
    if not principal.is_admin:
        raise ProblemError(NOT_ADMIN)
    owner = canonical_owner(named)
    if owner is None:
        raise ProblemError(
            Problem(
                ProblemKind.INVALID_REQUEST,
                OWNER_FORMS,
            )
        )
    return replace(principal, owner=owner, departments=())  # the departments are the admin's


def _unknown(reason: str) -> ProblemError:
    """A 401 whose reason is logged and not shown to the caller."""
    log.info("A request was not authenticated: %s", reason)
    return ProblemError(UNAUTHORIZED)


def _guid(claims: Claims, name: str) -> str:
    value = claims.one(name) or ""
    if not _GUID.fullmatch(value):
        raise _unknown(f"the claim {name} is missing, ambiguous or not a GUID")
    return value.lower()


def _folded(text: str | None) -> str:
    """Lower case of an ASCII text, to compare; empty for other texts, which could fold to ASCII."""
    return text.lower() if text is not None and text.isascii() else ""


@lru_cache(maxsize=16)
def _listed(setting: str) -> frozenset[str]:
    """The entries of a comma-separated setting, to compare with `_folded`."""
    texts: Iterable[str] = (text.strip().lower() for text in setting.split(","))
    return frozenset(text for text in texts if text)
