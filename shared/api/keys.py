"""`/keys`: creating, listing and revoking client keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, AwareDatetime, Field

from ..config import AuthMode
from ..config.departments import same_name
from ..config.spending import Allowance, PriceTable, allowances_to_json
from ..documents import Document, JsonObject
from ..http.answers import Answer, Streamed
from ..http.client_keys import KeyVerifier
from ..http.field_errors import invalid_field
from ..http.idempotency import keyed, once
from ..http.principal import NOT_ADMIN, OWNER_FORMS, OWNER_PARAMETER, Principal, Role
from ..http.query import PageQuery
from ..http.request import Incoming
from ..jobs.requests import EARLIEST, LATEST
from ..problems import ProblemError
from ..state.client_keys import ClientKey, ClientKeys, KeyTerms
from ..state.idempotency import Claim, IdempotencyKeys, KeptAnswer
from ..state.key_text import KEY_ID, key_id_from, new_key_id
from ..state.keys import Kind
from ..state.lanes import Clock
from ..state.owners import canonical_owner, client_key_owner
from ..turns.body import MAX_NAME_CHARS, Body, Name
from ..turns.options import MAX_TOOLS

MAX_MODELS = 100
MAX_BUDGETS = 10

AnyName = Annotated[Name, Field(max_length=MAX_NAME_CHARS)]


class CreateKey(Body):
    """Body of `POST /keys`."""

    label: Annotated[Name, Field(max_length=MAX_NAME_CHARS)]
    """What the key is for; the audit trail names it."""

    owner: str | None = None
    """Owner of what the key's caller creates. Left out, the key is its own owner."""

    roles: list[Role] = Field(default=[Role.USE], min_length=1, max_length=len(Role))
    """What the key may do."""

    department: Annotated[str, AfterValidator(same_name), Field(max_length=256)] | None = None
    """Department that the key's turns belong to, and whose budgets they spend from."""

    expires_at: AwareDatetime | None = Field(default=None, ge=EARLIEST, le=LATEST)
    """When the key expires."""

    models: list[AnyName] | None = Field(default=None, min_length=1, max_length=MAX_MODELS)
    """Models that may answer, by name or by `model_type`. Left out, all."""

    tools: list[AnyName] | None = Field(default=None, max_length=MAX_TOOLS)
    """Tools that requests may name. Left out, all; an empty list allows none."""

    budgets: list[Allowance] = Field(default=[], max_length=MAX_BUDGETS)
    """Limits of this key, as those of `BUDGETS` without `owner` and `department`."""


class KeysQuery(PageQuery):
    """The query of `GET /keys`."""

    cursor: Annotated[str, Field(pattern=f"^{KEY_ID}$")] | None = None
    """The `next_cursor` of the page before."""


class KeyDocument(Document):
    """A client key, without its secret."""

    key_id: str
    label: str
    owner: str
    roles: list[str]
    department: str | None
    expires_at: str | None
    revoked_at: str | None
    models: list[str] | None
    tools: list[str] | None
    budgets: list[JsonObject]
    created_by: str
    created_at: str


class NewKeyDocument(KeyDocument):
    """A client key that was just created."""

    key: NotRequired[str | None]
    """The whole key. It is shown only here, and null in the replay of this answer."""


class KeysPage(Document):
    """A page of client keys."""

    data: list[KeyDocument]
    next_cursor: str | None
    """Pass it as `cursor` to get the next page; null on the last."""


@dataclass(frozen=True, slots=True)
class KeysApi:
    """Handlers of `/keys`."""

    client_keys: ClientKeys
    verifier: KeyVerifier
    idempotency_keys: IdempotencyKeys
    mode: AuthMode
    prices: PriceTable
    clock: Clock

    async def create(self, incoming: Incoming) -> Answer | Streamed:
        """Create a key and show it.

        The answer is stored for an `Idempotency-Key` without the key, so its replay cannot show it.
        """
        self._check(incoming.principal)
        body = await incoming.body(CreateKey)

        async def act(claim: Claim | None) -> Answer:
            key_id = key_id_from(claim.id(Kind.TURN)) if claim else new_key_id()
            key = client_key(
                body,
                key_id,
                created_by=incoming.principal.subject,
                now=self.clock(),
                has_prices=bool(self.prices.models),
            )
            text = await self.client_keys.issue(key)
            self.verifier.forget(key_id)
            document = key_document(key)
            headers = {"Location": f"{incoming.request.url.path}/{key_id}"}
            if claim:
                kept = KeptAnswer(HTTPStatus.CREATED, headers, {**document, "key": None})
                await claim.record(kept)
            return Answer({**document, "key": text}, HTTPStatus.CREATED, headers)

        return await once(self.idempotency_keys, keyed(incoming, body), act)

    async def list_(self, incoming: Incoming) -> Answer:
        """A page of keys, in the order of their ids; with `owner`, those of that owner."""
        self._check(incoming.principal)
        asked = incoming.parameters_as(KeysQuery)
        owner = incoming.owner if OWNER_PARAMETER in incoming.request.query_params else None
        keys = await self.client_keys.list(asked.limit, asked.cursor, owner)
        next_cursor = keys[-1].key_id if len(keys) == asked.limit else None
        return Answer({"data": [key_document(key) for key in keys], "next_cursor": next_cursor})

    async def get(self, incoming: Incoming) -> Answer:
        """One key, also a revoked one."""
        self._check(incoming.principal)
        return Answer(key_document(await self.client_keys.get(incoming.path["key_id"])))

    async def revoke(self, incoming: Incoming) -> Answer:
        """Revoke a key for good: here at once, on other instances within 30 s."""
        self._check(incoming.principal)
        key = await self.client_keys.revoke(incoming.path["key_id"])
        self.verifier.forget(key.key_id)
        return Answer(key_document(key))

    def _check(self, principal: Principal) -> None:
        """Admins manage keys; in the mode `function`, so does the operator, who has the host's key.

        In the mode `both` every caller has a function key, and it makes no admin.
        """
        is_operator = principal.how is AuthMode.FUNCTION and self.mode is AuthMode.FUNCTION
        if not (principal.is_admin or is_operator):
            raise ProblemError(NOT_ADMIN)


def client_key(
    body: CreateKey, key_id: str, *, created_by: str, now: datetime, has_prices: bool
) -> ClientKey:
    """The key that a body describes.

    Raises:
        ProblemError: 422, naming the invalid field.
    """
    owner = client_key_owner(key_id) if body.owner is None else canonical_owner(body.owner)
    if owner is None:
        raise invalid_field("owner", OWNER_FORMS.removeprefix("owner ").removesuffix("."))
    if body.expires_at is not None and body.expires_at <= now:
        raise invalid_field("expires_at", "must be in the future")
    if any(budget.money for budget in body.budgets) and not has_prices:
        raise invalid_field("budgets", "limit money, so PRICES must say what models cost")
    terms = KeyTerms(
        key_id,
        None if body.models is None else tuple(body.models),
        None if body.tools is None else tuple(body.tools),
        tuple(body.budgets),
    )
    return ClientKey(
        key_id=key_id,
        owner=owner,
        label=body.label,
        roles=tuple(role.value for role in dict.fromkeys(body.roles)),
        terms=terms,
        created_by=created_by,
        created_at=now,
        department=body.department,
        expires_at=body.expires_at,
    )


def key_document(key: ClientKey) -> dict[str, Any]:
    """A key as JSON, without its secret and its digest."""

    def moment(at: datetime | None) -> str | None:
        return at.isoformat() if at else None

    return {
        "key_id": key.key_id,
        "label": key.label,
        "owner": key.owner,
        "roles": list(key.roles),
        "department": key.department,
        "expires_at": moment(key.expires_at),
        "revoked_at": moment(key.revoked_at),
        "models": None if key.terms.models is None else list(key.terms.models),
        "tools": None if key.terms.tools is None else list(key.terms.tools),
        "budgets": allowances_to_json(key.terms.budgets),
        "created_by": key.created_by,
        "created_at": key.created_at.isoformat(),
    }
