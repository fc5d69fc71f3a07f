"""`aos models` and `aos tools`: what can be asked for."""

from __future__ import annotations

from typing import Any, cast

from .api import JsonObject
from .commands import Session, command, new_app
from .output import Column, at

models = new_app("List the models that can be asked, and their prices.")
tools = new_app("List the tools that a message may name.")


def _available(item: JsonObject) -> object:
    return item.get("is_available")


def _names(entry: JsonObject) -> object:
    named = cast(list[JsonObject], entry.get("models", []))
    return [each.get("name") for each in named]


def _price(member: str) -> Column:
    def value(entry: JsonObject) -> object:
        named = cast(list[JsonObject], entry.get("models", []))
        prices = [cast(JsonObject, each.get("price") or {}) for each in named]
        return [each[member] for each in prices if each.get(member) is not None]

    return Column(f"{member} price", value)


MODEL_COLUMNS = (
    at("model_type", "type"),
    Column("models", _names),
    Column("available", _available),
    _price("input"),
    _price("output"),
    at("breaker.circuit", "circuit"),
    at("unavailable"),
)


def _missing(tool: JsonObject) -> object:
    alternatives = cast(list[list[str]], tool.get("missing", []))
    return " or ".join(" and ".join(each) for each in alternatives)


TOOL_COLUMNS = (
    at("name"),
    Column("available", _available),
    Column("missing settings", _missing),
    at("description"),
)


@command(models, "models")
def list_models(session: Session) -> None:
    """List the models that can be asked. Prices are those of a million tokens."""
    _show(session, session.api.get("models"), MODEL_COLUMNS)


@command(tools, "tools")
def list_tools(session: Session) -> None:
    """List the tools that a message may name."""
    _show(session, session.api.get("tools"), TOOL_COLUMNS)


def _show(session: Session, catalogue: JsonObject, columns: tuple[Column, ...]) -> None:
    items: list[dict[str, Any]] = cast(list[JsonObject], catalogue.get("data", []))
    session.output.items(items, columns)
