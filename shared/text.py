"""Text and JSON from outside, and their bytes; replaces what UTF-8 cannot encode.

Half a surrogate pair is a legal escape in JSON and a legal Python text, but it has no form in
UTF-8: no store, no answer and no service takes it. Each half is replaced by "?" where text enters
the app and where it leaves it.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from pydantic_core import PydanticSerializationError, from_json, to_json

_ESCAPE = re.compile(
    rb"\\\\"  # a backslash: what follows is text
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
"""Escapes among which surrogates are found: a backslash, a whole pair, or half of one. Linear: each
alternative has a fixed length, and none repeats."""

_T = TypeVar("_T")


def clean_text(text: str) -> str:
    """The text, with "?" for each half of a surrogate pair."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def clean(value: _T) -> _T:
    """A JSON value whose texts, at any depth, are clean; what is no JSON stays as it is."""
    if isinstance(value, str):
        return cast("_T", clean_text(value))
    if isinstance(value, Mapping):
        members = cast("Mapping[Any, Any]", value)
        return cast("_T", {clean(name): clean(member) for name, member in members.items()})
    if isinstance(value, list | tuple):
        return cast("_T", [clean(item) for item in cast("list[Any]", value)])
    return value


def clean_json(content: bytes) -> bytes:
    """JSON text from outside without a byte order mark and without halves of surrogate pairs."""
    if b"\\ud" in content or b"\\uD" in content:  # only an escape can smuggle a half in
        content = _ESCAPE.sub(lambda escape: b"?" if _is_half(escape[0]) else escape[0], content)
    return content.removeprefix(BOM_UTF8)


def _is_half(escape: bytes) -> bool:
    return len(escape) == len(rb"\ud800")


def parse_json(content: bytes | str) -> Any:
    """Read JSON text from outside, at most 200 levels deep.

    Raises:
        ValueError: if it is not JSON, as NaN is not.
    """
    data = to_utf8(content) if isinstance(content, str) else content
    return from_json(clean_json(data), allow_inf_nan=False)


def to_utf8(text: str) -> bytes:
    """Text as bytes."""
    return text.encode(errors="replace")


def to_json_bytes(value: Any) -> bytes:
    """A JSON value as bytes, compact."""
    try:
        return to_json(value)  # a seventh of the time of `json`
    except PydanticSerializationError:  # half of a surrogate pair, or many levels
        return to_utf8(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
