"""JSON documents in a row, split over several properties because one is too small."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from ..text import to_json_bytes
from .errors import DocumentTooLargeError
from .table import Value

CHUNK_BYTES = 60_000
"""A binary property holds 64 KiB."""

MAX_DOCUMENT_BYTES = 12 * CHUNK_BYTES
"""The rest of the 1 MiB of an entity is for the other properties of the row."""


def document_values(document: Mapping[str, Any], name: str) -> dict[str, Value]:
    """A JSON document as properties ``<name>_0``, ``<name>_1``, ...

    Raises:
        DocumentTooLargeError: if it has more than `MAX_DOCUMENT_BYTES`.
    """
    content = to_json_bytes(document)
    if len(content) > MAX_DOCUMENT_BYTES:
        raise DocumentTooLargeError(len(content), MAX_DOCUMENT_BYTES)
    chunks = range(0, len(content), CHUNK_BYTES)
    return {
        f"{name}_{number}": content[start : start + CHUNK_BYTES]
        for number, start in enumerate(chunks)
    }


def fitting_values(document: Mapping[str, Any], name: str) -> dict[str, Value]:
    """A document as `document_values` writes it; if it is too large, its longest texts are cut."""
    fitting, most = dict(document), MAX_DOCUMENT_BYTES
    while True:
        try:
            return document_values(fitting, name)
        except DocumentTooLargeError:
            most = most * 4 // 5
            fitting = {key: _cut(key, value, most) for key, value in fitting.items()}


def _cut(name: str, value: Any, most: int) -> Any:
    """A value whose texts have at most ``most`` characters; longer `arguments` become `{}`."""
    if isinstance(value, str) and len(value) > most:
        return "{}" if name == "arguments" else value[:most]
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        return {key: _cut(key, member, most) for key, member in members.items()}
    if isinstance(value, list | tuple):
        return [_cut(name, member, most) for member in cast("list[Any]", value)]
    return value


def replacing_values(
    document: Mapping[str, Any] | None, name: str, row: Mapping[str, Any]
) -> dict[str, Value]:
    """The properties with which a merge replaces the document of a row by another, or by none.

    Nothing is written where there was none. The longest texts are cut if it is too large.
    """
    written = fitting_values(document, name) if document is not None else {}
    number = len(written)
    while row.get(f"{name}_{number}"):
        written[f"{name}_{number}"] = b""  # a merge deletes no property
        number += 1
    return written


def read_document(values: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The document that these functions wrote, or None."""
    chunks: list[bytes] = []
    while (chunk := values.get(f"{name}_{len(chunks)}")) is not None:
        chunks.append(chunk)
    content = b"".join(chunks)
    return json.loads(content) if content else None
