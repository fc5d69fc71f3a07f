"""`aos usage`: tokens, turns and cost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, cast

import typer

from .api import JsonObject
from .commands import Session, command, new_app
from .errors import UsageError
from .output import Column, Format, Output, at, has_unicode, text_of

app = new_app("Show tokens, turns and cost.")

SUMS = (
    at("requests", "turns"),
    at("input_tokens", "input"),
    at("output_tokens", "output"),
    at("total_tokens", "tokens"),
    at("cost"),
    at("currency"),
)
MIN_BAR = 8
"""Columns of the terminal; where labels leave less, they are cut."""


class Measure(StrEnum):
    """What a plot shows."""

    TOKENS = "tokens"
    COST = "cost"
    TURNS = "turns"


_MEMBERS = {Measure.TOKENS: "total_tokens", Measure.COST: "cost", Measure.TURNS: "requests"}


@dataclass(frozen=True)
class Days:
    """A range of days."""

    first: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="By default 29 days before --to.")
    ] = None
    last: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="By default today, in UTC.")
    ] = None


@command(app, "usage")
def usage(
    session: Session,
    days: Days,
    by: Annotated[
        str,
        typer.Option(metavar="NAMES", help="day, model, domain, department, user_id, owner."),
    ] = "day",
    plot: Annotated[Measure | None, typer.Option(help="Draw bars of one measure.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with all columns.")] = False,
    all_owners: Annotated[
        bool, typer.Option("--all-owners", help="For admins: usage of all owners.")
    ] = False,
) -> None:
    """Show tokens, turns and cost of a range of days, grouped by one or more names."""
    query = {"by": by, "from": days.first, "to": days.last, "all_owners": all_owners or None}
    if as_csv and plot:
        raise UsageError("give --plot or --csv, not both")
    if as_csv or session.output.format is Format.CSV:
        answer = session.api.request("GET", "usage", query=query, accept="text/csv")
        session.output.text(answer.text, end="")
        return
    report = session.api.get("usage", query)
    names = by.split(",")
    if plot is not None:
        _plot(session.output, cast(list[JsonObject], report["groups"]), names, plot)
    elif session.output.is_table:
        _show(session.output, report, names)
    else:
        session.output.document(report, ())


def _show(output: Output, report: JsonObject, names: list[str]) -> None:
    total: JsonObject = {**cast(JsonObject, report["total"]), names[0]: "total"}
    groups = cast(list[JsonObject], report["groups"])
    columns = [*(at(name) for name in names), *SUMS]
    output.items([*groups, total] if groups else [], columns)


def _plot(output: Output, groups: list[JsonObject], names: list[str], measure: Measure) -> None:
    """Draw a bar for each group, on the width of the terminal."""
    if not groups:
        output.say("none")
        return
    value = at(_MEMBERS[measure])
    amounts = [float(cast(float | None, value.value(group)) or 0) for group in groups]
    numbers = [text_of(value.value(group)) for group in groups]
    labels = [_label(group, [at(name) for name in names]) for group in groups]
    width = output.console().width
    number_width = max(map(len, numbers))
    label_width = min(max(map(len, labels)), max(width - number_width - MIN_BAR - 4, 1))
    room = max(width - label_width - number_width - 4, 1)
    block, most = "█" if has_unicode(output.out) else "#", max(amounts) or 1.0
    for label, amount, number in zip(labels, amounts, numbers, strict=True):
        bar = block * round(amount / most * room)
        shown = label[:label_width]
        output.say(f"{shown:<{label_width}}  {bar:<{room}}  {number:>{number_width}}")


def _label(group: JsonObject, names: list[Column]) -> str:
    return " ".join(text_of(name.value(group)) for name in names)
