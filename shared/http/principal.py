"""Who calls, and so whose data a request may see.

| `AUTH_MODE` | the Functions host asks for | the principal header | the owner is |
|---|---|---|---|
| `function` | a function key | is ignored | `key` |
| `entra` | nothing | must be there and right | `tid:oid` |
| `both` | a function key | counts if there, and then must be right | `tid:oid`, else `key` |
| `anonymous` | nothing | is ignored | `anonymous` |

`both` asks for a key always, because the host checks keys before the app sees a request and the
app cannot check them itself: a mode in which either would do could not tell a wrong key from none.
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
from ..config import GUID, AccessSettings, AuthMode
from ..problems import Problem, ProblemError, ProblemKind
from ..state.owners import ANONYMOUS_OWNER, KEY_OWNER, NOBODY, canonical_owner, entra_owner
from .easy_auth import PRINCIPAL_HEADER, Claims, PrincipalHeaderError, read_principal

log = logging.getLogger(__name__)

OWNER_PARAMETER = "owner"
"""The query parameter by which an admin names an owner."""

_GUID = re.compile(GUID)


class Role(StrEnum):
    """What a caller may do: an app role of the app's registration."""

    USE = "Agents.Use"
    """Work with what is the caller's own. A delegated permission (scope) of this name will do."""
    ADMIN = "Agents.Admin"
    """Work with the data of every owner. Only as an app role, never as a scope of a client."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    owner: str
    """Key of everything that the request is about."""
    subject: str
    """The caller: an object id of Entra, or a fixed name without Entra."""
    actor: str
    """Through which client application."""
    tenant: str | None
    roles: frozenset[Role]
    how: AuthMode
    """What the caller was admitted by: a function key, Entra, or nothing."""
    departments: tuple[str, ...] = ()
    """That the caller's token names."""

    @property
    def is_admin(self) -> bool:
        """Whether the caller may name other owners."""
        return Role.ADMIN in self.roles

    @property
    def is_operator(self) -> bool:
        """Whether the caller may see what concerns the whole instance.

        A function key is the operator's own, and where nothing is asked for there are no others.
        """
        return self.is_admin or self.how in {AuthMode.FUNCTION, AuthMode.ANONYMOUS}

    def caller(self, request_id: str) -> Caller:
        """The caller of one request, as audit records name it."""
        return Caller(self.subject, self.actor, self.how.value, request_id, self.departments)


_USER = frozenset({Role.USE})
_KEY = Principal(KEY_OWNER, "key", "key", None, _USER, AuthMode.FUNCTION)
_ANONYMOUS = Principal(ANONYMOUS_OWNER, "anonymous", "anonymous", None, _USER, AuthMode.ANONYMOUS)
ANYBODY = Principal(NOBODY, "anybody", "anybody", None, frozenset(), AuthMode.ANONYMOUS)
"""The caller of a route that needs no key and no token."""

UNAUTHORIZED = Problem(
    ProblemKind.UNAUTHORIZED,
    "The caller is not known here. Send a Microsoft Entra token for this app as "
    "'Authorization: Bearer ...'; the app's log says what was wrong with this request.",
)
NO_ROLE = Problem(
    ProblemKind.FORBIDDEN,
    f"The caller needs the app role or permission {Role.USE} of this app.",
)
NOT_ADMIN = Problem(ProblemKind.FORBIDDEN, f"This takes the app role {Role.ADMIN} of this app.")


@dataclass(frozen=True, slots=True)
class Access:
    """Decides who a request is from."""

    settings: AccessSettings

    def identify(self, request: Request) -> Principal:
        """The caller of a request, who may have no role yet: see `authorized`.

        Raises:
            ProblemError: 401 for a caller who is not known.
        """
        headers = request.headers.getlist(PRINCIPAL_HEADER)
        match self.settings.mode:
            case AuthMode.FUNCTION:
                return _KEY
            case AuthMode.ANONYMOUS:
                return _ANONYMOUS
            case AuthMode.BOTH if not headers:
                return _KEY
            case AuthMode.BOTH | AuthMode.ENTRA:
                return self._entra_principal(headers)

    def _entra_principal(self, headers: list[str]) -> Principal:
        if not self.settings.easy_auth:
            raise _unknown("App Service authentication is off (WEBSITE_AUTH_ENABLED)")
        if not headers:
            raise _unknown("there is no principal header")
        try:
            claims = read_principal(headers)
        except PrincipalHeaderError as error:
            raise _unknown(str(error)) from None
        tenant, subject = _guid(claims, "tid"), _guid(claims, "oid")
        client = self._client(claims)
        self._check(claims, tenant)
        roles = frozenset(role for role in Role if role in claims.all("roles"))
        if Role.USE in " ".join(claims.all("scp")).split() or Role.ADMIN in roles:
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
        """The departments that a token names, where the settings say by which claim."""
        claim = self.settings.department_claim
        return self.settings.known_departments.claimed(claims.all(claim)) if claim else ()

    def _client(self, claims: Claims) -> str:
        """The client application; v1 tokens name it `appid`, v2 tokens `azp`."""
        names = [name for name in ("azp", "appid") if claims.all(name)]
        clients = {_guid(claims, name) for name in names}
        if len(clients) != 1:
            raise _unknown("the client application is not named, or twice")
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


def authorized(principal: Principal, request: Request) -> Principal:
    """The caller as it may act: for itself, or as an admin for the owner that the request names.

    Raises:
        ProblemError: 403 for a caller without the role that this takes, 422 for an owner that
            cannot be.
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
                "owner must be <tenant id>:<object id>, key or anonymous.",
            )
        )
    return replace(principal, owner=owner, departments=())  # those are the admin's own


def _unknown(reason: str) -> ProblemError:
    """A refusal whose reason goes to the log and not to the caller."""
    log.info("A caller is refused: %s", reason)
    return ProblemError(UNAUTHORIZED)


def _guid(claims: Claims, name: str) -> str:
    value = claims.one(name) or ""
    if not _GUID.fullmatch(value):
        raise _unknown(f"the claim {name} is not there once as a GUID")
    return value.lower()


def _folded(text: str | None) -> str:
    """A text to compare: letter case does not count; letters that fold from elsewhere do."""
    return text.lower() if text is not None and text.isascii() else ""


@lru_cache(maxsize=16)
def _listed(setting: str) -> frozenset[str]:
    """The texts of a setting with commas between, to compare with `_folded`."""
    texts: Iterable[str] = (text.strip().lower() for text in setting.split(","))
    return frozenset(text for text in texts if text)
