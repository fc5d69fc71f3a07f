"""The docstrings below the fields of settings."""

from __future__ import annotations

from docstring_parser import parse_from_object

from shared.config import Settings


def field_docstrings(group: type[Settings]) -> dict[str, str]:
    """Each field's docstring, in one line; fields without one are missing."""
    return {
        member.arg_name: " ".join(member.description.split())
        for each in reversed(group.__mro__)
        if issubclass(each, Settings)
        for member in parse_from_object(each).params
        if member.description
    }
