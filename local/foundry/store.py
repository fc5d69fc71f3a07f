"""The emulator's state in SQLite.

Calls are synchronous on purpose: each takes tens of microseconds, because none waits for the disk,
and no other request runs between two of them. `synchronous=OFF` with a write-ahead log survives a
crash of the process, but not of the machine.
"""

import json
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]
Row = Mapping[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS conversations (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL,
  agent_name TEXT, agent_id TEXT, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS items (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, conversation_id TEXT NOT NULL,
  item_type TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (conversation_id, id));
CREATE TABLE IF NOT EXISTS responses (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL,
  conversation_id TEXT, previous_response_id TEXT, agent_name TEXT, agent_id TEXT,
  status TEXT NOT NULL, streamed INTEGER NOT NULL, body TEXT NOT NULL, input TEXT NOT NULL,
  events TEXT);
CREATE TABLE IF NOT EXISTS agents (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, kind TEXT NOT NULL,
  state TEXT NOT NULL, last_version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS agent_versions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, agent_name TEXT NOT NULL,
  body TEXT NOT NULL, UNIQUE (agent_name, id));
CREATE INDEX IF NOT EXISTS responses_of_conversation ON responses (conversation_id, seq);
"""


class UnknownCursorError(LookupError):
    """The item in `after` or `before` of a page does not exist."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The requested part of a list."""

    limit: int = 20
    order: str = "desc"
    after: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list, and whether there is more."""

    rows: list[Row]
    has_more: bool


class Store:
    """Rows by table; `body` columns hold JSON text."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = _open(path)
        except sqlite3.Error as error:
            message = f"cannot use the state in {path}: {error}"
            raise OSError(message) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def signing_secret(self) -> str:
        """Return the secret that signs tokens, making it on first use."""
        self._db.execute(
            "INSERT OR IGNORE INTO meta VALUES ('signing_secret', ?)", (secrets.token_hex(32),)
        )
        query = "SELECT value FROM meta WHERE key = 'signing_secret'"
        return str(self._db.execute(query).fetchone()["value"])

    def is_fresh(self) -> bool:
        """Whether this is the first call on a new state."""
        cursor = self._db.execute("INSERT OR IGNORE INTO meta VALUES ('used', 'yes')")
        return cursor.rowcount == 1

    def insert(self, table: str, **columns: Any) -> None:
        """Add a row; values that are lists or objects are stored as JSON."""
        names = ", ".join(columns)
        marks = ", ".join("?" for _ in columns)
        values = [_encode(value) for value in columns.values()]
        self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)  # noqa: S608

    def update(self, table: str, where: JsonObject, **columns: Any) -> None:
        """Change the rows that `where` selects."""
        changes = ", ".join(f"{name} = ?" for name in columns)
        condition, arguments = _where(where)
        values = [_encode(value) for value in columns.values()]
        sql = f"UPDATE {table} SET {changes} WHERE {condition}"  # noqa: S608
        self._db.execute(sql, [*values, *arguments])

    def delete(self, table: str, **where: Any) -> None:
        """Remove the rows that `where` selects."""
        condition, arguments = _where(where)
        self._db.execute(f"DELETE FROM {table} WHERE {condition}", arguments)  # noqa: S608

    def find(self, table: str, **where: Any) -> Row | None:
        """Return the row that `where` selects, or None."""
        rows = self.all(table, **where)
        return rows[0] if rows else None

    def all(self, table: str, **where: Any) -> list[Row]:
        """Return the rows that `where` selects, oldest first."""
        condition, arguments = _where(where)
        sql = f"SELECT * FROM {table} WHERE {condition} ORDER BY seq"  # noqa: S608
        return [_decode(row) for row in self._db.execute(sql, arguments)]

    def page(self, table: str, page: PageRequest, where: JsonObject) -> Page:
        """Return one page of the rows that `where` selects.

        Raises:
            UnknownCursorError: `after` or `before` names no row of the list.
        """
        condition, arguments = _where(where)
        descending = page.order == "desc"
        for cursor, beyond in ((page.after, not descending), (page.before, descending)):
            if cursor is not None:
                found = self.find(table, **where, id=cursor)
                if found is None:
                    raise UnknownCursorError(cursor)
                condition += f" AND seq {'>' if beyond else '<'} ?"
                arguments.append(found["seq"])
        backwards = page.before is not None and page.after is None
        direction = "DESC" if descending != backwards else "ASC"
        sql = f"SELECT * FROM {table} WHERE {condition} ORDER BY seq {direction} LIMIT ?"  # noqa: S608
        rows = [_decode(row) for row in self._db.execute(sql, [*arguments, page.limit + 1])]
        kept = rows[: page.limit]
        return Page(kept[::-1] if backwards else kept, len(rows) > page.limit)

    def add_items(self, conversation_id: str, items: Iterable[JsonObject]) -> None:
        """Append items to a conversation, all or none."""
        rows = [(i["id"], conversation_id, i["type"], json.dumps(i)) for i in items]
        columns = "(id, conversation_id, item_type, body)"
        self._db.execute("BEGIN")
        try:
            self._db.executemany(f"INSERT INTO items {columns} VALUES (?, ?, ?, ?)", rows)  # noqa: S608
        except sqlite3.Error:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def fail_interrupted(self) -> None:
        """Set responses that the emulator's end interrupted to `failed`; their answers are lost."""
        for status in ("queued", "in_progress"):
            for row in self.all("responses", status=status):
                error = {"code": "server_error", "message": "The service was restarted."}
                body = {**row["body"], "status": "failed", "error": error}
                self.update("responses", {"id": row["id"]}, status="failed", body=body)


def _open(path: Path | None) -> sqlite3.Connection:
    db = sqlite3.connect(path or ":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _where(where: JsonObject) -> tuple[str, list[Any]]:
    """Build the condition of equality with every value that is not None."""
    given = {name: value for name, value in where.items() if value is not None}
    condition = " AND ".join(["1", *(f"{name} = ?" for name in given)])
    return condition, list(given.values())


def _encode(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _decode(row: sqlite3.Row) -> Row:
    decoded = dict(row)
    for name in ("body", "input", "events"):
        if isinstance(decoded.get(name), str):
            decoded[name] = json.loads(decoded[name])
    return decoded
