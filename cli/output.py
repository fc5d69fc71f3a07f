"""What commands print: tables for people; JSON, JSON lines or CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO, cast

from .terminal_text import escaped_json, one_line, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

JsonObject = dict[str, Any]

UNKNOWN = "-"
"""What a table shows for null and for what is absent."""

_STARTS_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\N{MINUS SIGN}",
    "\uff1d",
    "\uff0b",
    "\uff20",
)
_STATUS_STYLES = {
    **dict.fromkeys(("succeeded", "ok", "valid", "yes"), "green"),
    **dict.fromkeys(("failed", "revoked", "expired", "no"), "red"),
    **dict.fromkeys(("running", "warning", "refused"), "yellow"),
}


class Format(StrEnum):
    """How the result is printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True)
class Column:
    """A column of a table or CSV file, or a line of a single object."""

    title: str
    value: Callable[[JsonObject], object]


def at(path: str, title: str = "") -> Column:
    """The column of a member, whose name may have dots; it is titled with the last part."""
    *parents, last = path.split(".")

    def value(item: JsonObject) -> object:
        for parent in parents:
            inner: object = item.get(parent)
            item = cast(JsonObject, inner) if isinstance(inner, dict) else {}
        return item.get(last)

    return Column(title or last, value)


def moment(path: str, title: str = "") -> Column:
    """The column of a time, to the second, in UTC."""
    column = at(path, title)

    def value(item: JsonObject) -> object:
        text = column.value(item)
        return text[:19].replace("T", " ") if isinstance(text, str) else text

    return Column(column.title, value)


def text_of(value: object) -> str:
    """A value as people read it, on one line."""
    if value in (None, "", [], {}):
        return UNKNOWN
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(text_of(each) for each in cast(list[object], value))
        case dict():
            pairs = cast(dict[object, object], value).items()
            return ", ".join(f"{name}={text_of(each)}" for name, each in pairs)
        case _:
            return one_line(str(value))


@dataclass(frozen=True)
class Output:
    """Standard output in one format, and notes on standard error."""

    format: Format
    out: TextIO
    err: TextIO

    @classmethod
    def choose(cls, asked: Format | None) -> Output:
        """The format that was asked for; else a table on a terminal, and JSON elsewhere."""
        default = Format.TABLE if sys.stdout.isatty() else Format.JSON
        return cls(asked or default, sys.stdout, sys.stderr)

    @property
    def is_table(self) -> bool:
        """Whether people read it."""
        return self.format is Format.TABLE

    def items(self, items: Iterable[JsonObject], columns: Sequence[Column]) -> None:
        """Print a list."""
        match self.format:
            case Format.TABLE:
                self._table(list(items), columns)
            case Format.JSON:
                self.json(list(items))
            case Format.JSONL:
                for item in items:
                    self.line(item)
            case Format.CSV:
                self._csv(items, columns)

    def document(self, document: JsonObject, columns: Sequence[Column]) -> None:
        """Print one object."""
        match self.format:
            case Format.TABLE:
                self._record(document, columns)
            case Format.JSON:
                self.json(document)
            case Format.JSONL:
                self.line(document)
            case Format.CSV:
                self._csv([document], columns)

    def json(self, document: object) -> None:
        """Print JSON for programs, which people can read too."""
        self._put(escaped_json(json.dumps(document, ensure_ascii=False, indent=2)) + "\n")

    def line(self, document: object) -> None:
        """Print JSON on one line, at once."""
        self._put(escaped_json(json.dumps(document, ensure_ascii=False)) + "\n")
        self.out.flush()

    def text(self, text: str, end: str = "\n") -> None:
        """Print text of the app at once; on a terminal, only what is safe there."""
        self._put((printable(text) if self.out.isatty() else text) + end)
        self.out.flush()

    def say(self, text: str) -> None:
        """Print a line of the command itself."""
        self.text(printable(text))

    def note(self, text: str) -> None:
        """Print a line for people beside the result."""
        self.err.write(f"{printable(text)}\n")
        self.err.flush()

    def console(self, *, is_error: bool = False) -> Console:
        """The terminal as rich sees it; text that is not marked as such has no markup."""
        from rich.console import Console

        file = self.err if is_error else self.out
        return Console(file=file, highlight=False, markup=False, emoji=False)

    def _put(self, text: str) -> None:
        self.out.write(text)

    def _table(self, items: list[JsonObject], columns: Sequence[Column]) -> None:
        """Print a table, or one object below the other where the terminal is too narrow."""
        if not items:
            self.say("none")
            return
        console = self.console()
        table = _rich_table(items, columns)
        if _width(console, table) <= console.width:
            console.print(table)
            return
        for number, item in enumerate(items):
            if number:
                self.say("")
            self._record(item, columns)

    def _record(self, document: JsonObject, columns: Sequence[Column]) -> None:
        width = max(len(column.title) for column in columns)
        for column in columns:
            self.say(f"{column.title:<{width}}  {text_of(column.value(document))}")

    def _csv(self, items: Iterable[JsonObject], columns: Sequence[Column]) -> None:
        row = io.StringIO()
        writer = csv.writer(row, lineterminator="\n")
        writer.writerow([column.title for column in columns])
        for item in items:
            writer.writerow([_cell(column.value(item)) for column in columns])
            self.text(row.getvalue(), end="")
            row.seek(0)
            row.truncate()
        self.text(row.getvalue(), end="")


def _rich_table(items: list[JsonObject], columns: Sequence[Column]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        values = [column.value(item) for item in items]
        is_number = any(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        table.add_column(Text(column.title), justify="right" if is_number else "left")
    for item in items:
        cells = [text_of(column.value(item)) for column in columns]
        table.add_row(*(Text(cell, style=_STATUS_STYLES.get(cell, "")) for cell in cells))
    return table


def _width(console: Console, table: Table) -> int:
    """The width of a table in which no cell is broken."""
    from rich.measure import Measurement

    endless = console.options.update(max_width=100_000)
    return Measurement.get(console, endless, table).maximum


def _cell(value: object) -> object:
    """A cell that no spreadsheet runs as a formula."""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.lstrip().startswith(_STARTS_FORMULA):
        return f"'{value}"
    return value


def has_unicode(file: TextIO) -> bool:
    """Whether the output can show more than ASCII."""
    encoding = (file.encoding or "ascii").lower()
    return (
        encoding.replace("-", "") in {"utf8", "utf16", "utf32"} and os.environ.get("TERM") != "dumb"
    )
