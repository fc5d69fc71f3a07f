"""Client keys: one row for each, and the seal by which the app recognizes its keys.

A row has the digest of the key's secret, never the secret. A revoked key keeps its row, so that the
audit trail's ids can be explained.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from ..config import ModelType
from ..config.spending import Allowance, allowances_to_json, read_allowances
from .errors import RowExistsError, RowMissingError
from .key_text import KeyText, is_key_id
from .keys import CLIENT_KEY, SEAL
from .lanes import Clock
from .table import Change, Operation, Row, Table, Value, equals

KEYS_PARTITION = "$sealed-keys"
"""Not the partition of any owner, because a dollar sign in an owner's key is escaped. It sorts
after `$rejected`, where the deletion of old rows begins."""

NOT_IN_KEY = "The client key does not allow it."
"""Why a model or a tool is unavailable to the key's caller."""

SEAL_BYTES = 32
_SEAL_KEY = f"{SEAL}:1"


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a client key allows, and what it may spend; stored with its jobs too."""

    key_id: str
    models: tuple[str, ...] | None = None
    """Names of models, or of model types; None allows all."""
    tools: tuple[str, ...] | None = None
    """Names of tools; None allows all."""
    budgets: tuple[Allowance, ...] = ()

    def allows_model(self, model_type: ModelType, name: str | None) -> bool:
        """Whether a model may answer, by its type or its name."""
        return self.models is None or not {model_type.value, name}.isdisjoint(self.models)

    def allows_tool(self, name: str) -> bool:
        """Whether a request may name a tool."""
        return self.tools is None or name in self.tools

    def to_json(self) -> dict[str, Any]:
        """The terms as JSON, without what is not limited."""
        document: dict[str, Any] = {"key_id": self.key_id}
        if self.models is not None:
            document["models"] = list(self.models)
        if self.tools is not None:
            document["tools"] = list(self.tools)
        if self.budgets:
            document["budgets"] = allowances_to_json(self.budgets)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned."""
        models, tools = document.get("models"), document.get("tools")
        return cls(
            document["key_id"],
            None if models is None else tuple(models),
            None if tools is None else tuple(tools),
            read_allowances(document.get("budgets", [])),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKey:
    """A client key without its secret."""

    key_id: str
    owner: str
    label: str
    roles: tuple[str, ...]
    terms: KeyTerms
    created_by: str
    created_at: datetime
    digest: str = ""
    """SHA-256 of the secret; empty before the key is issued."""
    department: str | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def to_values(self) -> dict[str, Value | None]:
        """The properties of the key's row."""
        return {
            "digest": self.digest,
            "owner": self.owner,
            "label": self.label,
            "roles": ",".join(self.roles),
            "terms": json.dumps(self.terms.to_json()),
            "created_by": self.created_by,
            "created_at": self.created_at,
            "department": self.department,
            "expires_at": self.expires_at,
            "revoked_at": self.revoked_at,
        }

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read a row with the properties of `to_values`."""
        values = row.values
        return cls(
            key_id=row.row_key.partition(":")[2],
            digest=values["digest"],
            owner=values["owner"],
            label=values["label"],
            roles=tuple(filter(None, values["roles"].split(","))),
            terms=KeyTerms.from_json(json.loads(values["terms"])),
            created_by=values["created_by"],
            created_at=values["created_at"],
            department=values.get("department"),
            expires_at=values.get("expires_at"),
            revoked_at=values.get("revoked_at"),
        )


class ClientKeys:
    """The client keys in the table."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    async def seal(self) -> bytes | None:
        """The secret by which the app recognizes its keys; None before the first key."""
        row = await self._table.get(KEYS_PARTITION, _SEAL_KEY)
        return bytes.fromhex(row.values["seal"]) if row else None

    async def _seal_for_new_key(self) -> bytes:
        """The seal; it is made for the first key."""
        while (seal := await self.seal()) is None:
            values = {"seal": secrets.token_hex(SEAL_BYTES)}
            try:
                await self._table.write(
                    KEYS_PARTITION, [Change(Operation.INSERT, _SEAL_KEY, values)]
                )
            except RowExistsError:  # another instance made it
                continue
        return seal

    async def issue(self, key: ClientKey) -> str:
        """Store a key with a new secret; returns its whole text, which cannot be read again.

        A key that an interrupted attempt of the same request stored is replaced.
        """
        text = KeyText.new(key.key_id, await self._seal_for_new_key())
        issued = replace(key, digest=text.digest)
        change = Change(Operation.UPSERT, _row_key(key.key_id), issued.to_values())
        await self._table.write(KEYS_PARTITION, [change])
        return text.show()

    async def get(self, key_id: str) -> ClientKey:
        """A key, revoked or not.

        Raises:
            RowMissingError: if there is none with this id.
        """
        if (key := await self.find(key_id)) is None:
            raise RowMissingError(f"There is no client key {key_id!r}.")
        return key

    async def find(self, key_id: str) -> ClientKey | None:
        """A key, revoked or not; None if there is none. ``key_id`` may be any text."""
        if not is_key_id(key_id):
            return None
        row = await self._table.get(KEYS_PARTITION, _row_key(key_id))
        return ClientKey.from_row(row) if row else None

    async def list(self, limit: int, after: str | None, owner: str | None) -> list[ClientKey]:
        """Up to ``limit`` keys in the order of their ids, of one owner or of all."""
        rows = await self._table.scan(
            KEYS_PARTITION,
            _row_key(after or ""),
            f"{CLIENT_KEY};",
            limit=limit,
            where=equals("owner", owner) if owner is not None else "",
        )
        return [ClientKey.from_row(row) for row in rows]

    async def revoke(self, key_id: str) -> ClientKey:
        """Revoke a key for good; a key that was revoked before stays as it is.

        Raises:
            RowMissingError: if there is none with this id.
        """
        key = await self.get(key_id)
        if key.revoked_at is not None:
            return key
        change = Change(Operation.MERGE, _row_key(key_id), {"revoked_at": self._clock()})
        await self._table.write(KEYS_PARTITION, [change])
        return await self.get(key_id)


def _row_key(key_id: str) -> str:
    return f"{CLIENT_KEY}:{key_id}"
