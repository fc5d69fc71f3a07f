"""The types that all JSON documents share."""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator, ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12


@with_config(ConfigDict(use_attribute_docstrings=True))
class Document(TypedDict):
    """A JSON object; the docstrings of its members are in the API document."""


JsonObject = dict[str, Any]
"""An object whose members are not ours to name."""


def _as_integer(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


json_integer = BeforeValidator(_as_integer)
"""For strict integers of documents: `5.0` is one too, as JSON Schema defines it."""
