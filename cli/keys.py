"""`aos keys`: client keys, for admins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from .api import JsonObject, part
from .commands import Session, command, new_app
from .errors import UsageError
from .listing import Limit
from .output import Column, at, moment

app = new_app("Create, list and revoke client keys, as an admin.")


def _state(key: JsonObject) -> object:
    if key.get("revoked_at"):
        return "revoked"
    expires_at = key.get("expires_at")
    if not isinstance(expires_at, str):
        return "valid"
    return "valid" if datetime.fromisoformat(expires_at) > datetime.now(UTC) else "expired"


COLUMNS = (
    at("key_id", "id"),
    at("label"),
    Column("state", _state),
    at("owner"),
    at("roles"),
    at("department"),
    moment("expires_at", "expires"),
)


@dataclass(frozen=True)
class Rights:
    """What a new key may do."""

    of: Annotated[
        str | None,
        typer.Option("--of", metavar="OWNER", help="Whose data it reaches; by default its own."),
    ] = None
    admin: Annotated[bool, typer.Option("--admin", help="Give it the role Agents.Admin.")] = False
    department: Annotated[
        str | None, typer.Option(metavar="NAME", help="The department whose budgets it spends.")
    ] = None
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="Such as 2027-01-01T00:00:00Z.")
    ] = None
    models: Annotated[
        list[str] | None, typer.Option("--model", help="A model that may answer; repeatable.")
    ] = None
    tools: Annotated[
        list[str] | None, typer.Option("--tool", help="A tool it may name; repeatable.")
    ] = None
    budgets: Annotated[
        str, typer.Option(metavar="JSON", help='Such as [{"tokens": 100000, "per": "day"}].')
    ] = "[]"

    def body(self) -> JsonObject:
        """The members of a body that they give.

        Raises:
            UsageError: The budgets are not JSON.
        """
        try:
            budgets: object = json.loads(self.budgets)
        except ValueError:
            raise UsageError("--budgets is not JSON") from None
        return {
            "owner": self.of,
            "roles": ["Agents.Use", *(["Agents.Admin"] if self.admin else [])],
            "department": self.department,
            "expires_at": self.expires,
            "models": self.models,
            "tools": self.tools,
            "budgets": budgets,
        }


@command(app, "create")
def create(
    session: Session,
    rights: Rights,
    label: Annotated[str, typer.Option(metavar="TEXT", help="What the key is for.")],
) -> None:
    """Create a key and show it, the only time."""
    key = session.api.post("keys", {**rights.body(), "label": label})
    session.output.document(key, (*COLUMNS, at("key")))


@command(app, "ls")
def ls(session: Session, limit: Limit = 50) -> None:
    """List client keys, without their secrets."""
    session.output.items(session.api.pages("keys", None, limit), COLUMNS)


@command(app, "revoke")
def revoke(
    session: Session,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a key.")],
) -> None:
    """End a key for good, everywhere within 30 s."""
    if "_" in key_id:  # a whole key, which must be in no address
        raise UsageError("give the id of the key: the part between the underscores")
    answer = session.api.request("DELETE", f"keys/{part(key_id)}")
    session.output.document(answer.json(), COLUMNS)
