"""The base model of all request bodies, of HTTP requests and queue messages."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from ..foundry.asking import MAX_METADATA_KEY, MAX_METADATA_TEXT
from ..state.threads import MAX_METADATA_PAIRS
from ..text import clean_json

MAX_MESSAGE_CHARS = 1024 * 1024
MAX_NAME_CHARS = 128

_CONTROL_CHARACTERS = r"\x00-\x1f\x7f-\x9f"
_CONTROL_CHARACTERS_BUT_LAYOUT = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_CONTROL = re.compile(f"[{_CONTROL_CHARACTERS}]")
_CONTROL_BUT_LAYOUT = re.compile(f"[{_CONTROL_CHARACTERS_BUT_LAYOUT}]")


def _without(characters: str) -> Any:
    """What the schema of a text says that must not hold some characters."""
    return Field(json_schema_extra={"pattern": f"^[^{characters}]*$"})


def _is_printable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    return text


def _is_text(text: str) -> str:
    if _CONTROL_BUT_LAYOUT.search(text):
        raise ValueError("must not contain control characters except tabs and line ends")
    return text


Name = Annotated[
    str, Field(min_length=1), _without(_CONTROL_CHARACTERS), AfterValidator(_is_printable)
]
MetadataKey = Annotated[Name, Field(max_length=MAX_METADATA_KEY)]
MetadataText = Annotated[
    str,
    Field(max_length=MAX_METADATA_TEXT),
    _without(_CONTROL_CHARACTERS_BUT_LAYOUT),
    AfterValidator(_is_text),
]
Metadata = Annotated[dict[MetadataKey, MetadataText], Field(max_length=MAX_METADATA_PAIRS)]
MessageText = Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE_CHARS)]


_NULL_IS_DEFAULT = (
    "domain",
    "tools",
    "images",
    "approvals",
    "message",
    "metadata",
    "new_thread",
    "max_attempts",
    "stop_lane_on_failure",
    "roles",
    "budgets",
    "params",
)
"""All fields with a default that is not null; a test checks that none is missing."""


class Body(BaseModel):
    """A request body; an unknown field is an error."""

    model_config = ConfigDict(
        defer_build=True,  # by the first request that has such a body
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        strict=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Read a body from JSON.

        Raises:
            ValidationError: if it is not JSON, or a field is unknown, missing or invalid.
        """
        return cls.model_validate_json(clean_json(content))

    @field_validator(*_NULL_IS_DEFAULT, mode="before", check_fields=False)
    @classmethod
    def _null_is_default(cls, value: object, info: ValidationInfo) -> object:
        """Treat null as the default, because many JSON libraries write null for a missing value."""
        field = cls.model_fields[info.field_name or ""]
        if value is None and not field.is_required():
            return field.get_default(call_default_factory=True)
        return value
