"""`aos budgets`: what is left."""

from __future__ import annotations

from typing import cast

from .api import JsonObject
from .commands import Session, command, new_app
from .output import at, moment

app = new_app("Show what is left of your budgets, and when they reset.")

COLUMNS = (
    at("subject"),
    at("of"),
    at("per"),
    at("limit"),
    at("used"),
    at("reserved"),
    at("left"),
    moment("resets_at", "resets"),
)


@command(app, "budgets")
def budgets(session: Session) -> None:
    """Show what is left of your budgets, and when they reset (in UTC)."""
    session.output.items(cast(list[JsonObject], session.api.get("me")["budgets"]), COLUMNS)
