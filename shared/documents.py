"""The base of the types of JSON documents that callers get."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12


@with_config(ConfigDict(use_attribute_docstrings=True))
class Document(TypedDict):
    """A JSON object; the docstrings of its members are in the API document."""


JsonObject = dict[str, Any]
"""An object whose members are not ours to name."""
