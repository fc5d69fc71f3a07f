"""JSON documents in a row, split over several properties because one is too small."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

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


def read_document(values: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The document that `document_values` wrote, or None."""
    chunks: list[bytes] = []
    while (chunk := values.get(f"{name}_{len(chunks)}")) is not None:
        chunks.append(chunk)
    return json.loads(b"".join(chunks)) if chunks else None
