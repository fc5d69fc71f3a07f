"""Turns the keyword arguments of a Python caller into a checked `TurnRequest`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, cast

from ..state.threads import MAX_METADATA_PAIRS
from ..text import clean, clean_text
from .content import image_part
from .errors import InvalidRequestError
from .models import TurnRequest
from .structured import response_format
from .tools import ToolLike, custom_tool
from .wire_json import JsonObject

OPTIONS = (
    "system_prompt",
    "tools",
    "model",
    "temperature",
    "max_tokens",
    "top_p",
    "metadata",
    "images",
    "files",
    "response_format",
    "background",
)

MAX_TEMPERATURE = 2.0
MAX_TOP_P = 1.0
MAX_COUNT = 2**31 - 1
"""The service reads 32 bits."""

MAX_METADATA_KEY = 64
MAX_METADATA_TEXT = 512
"""Characters."""

_T = TypeVar("_T")


def turn_request(message: str, domain: str, options: Mapping[str, Any]) -> TurnRequest:
    """The turn that asks ``message`` with `OPTIONS`, all of them optional.

    Raises:
        TypeError: for an unknown option, or a value of another type.
        InvalidRequestError: for a value that cannot be used.
    """
    if unknown := sorted(options.keys() - set(OPTIONS)):
        raise TypeError(_unknown(unknown))
    given = {name: value for name, value in options.items() if value is not None}
    wanted, background = given.get("response_format"), given.get("background", False)
    return TurnRequest(
        message=checked_text("message", message),
        domain=checked_text("domain", domain),
        system_prompt=_optional(given, "system_prompt", str),
        tools=tuple(map(_tool, _listed(given, "tools"))),
        model=checked_text("model", given["model"]) if "model" in given else None,
        temperature=_number(given, "temperature", MAX_TEMPERATURE),
        max_tokens=_max_tokens(given),
        top_p=_number(given, "top_p", MAX_TOP_P),
        metadata=checked_metadata(given.get("metadata", {})),
        parts=(*map(_image, _listed(given, "images")), *map(_file, _listed(given, "files"))),
        response_format=response_format(wanted) if wanted is not None else None,
        background=_of_type("background", background, bool),
    )


def checked_text(name: str, value: object) -> str:
    """A text that must not be empty.

    Raises:
        TypeError, InvalidRequestError: saying what is wrong with it.
    """
    if not (text := _of_type(name, value, str)):
        raise InvalidRequestError(f"{name} must not be empty.")
    return clean_text(text)


def checked_count(name: str, value: object, most: int) -> int:
    """A whole number from 1 to ``most``.

    Raises:
        TypeError, InvalidRequestError: saying what is wrong with it.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number, not {type(value).__name__}.")
    if not 1 <= value <= most:
        raise InvalidRequestError(f"{name} must be from 1 to {most}.")
    return value


def checked_metadata(value: object) -> dict[str, str]:
    """Metadata as Foundry takes it.

    Raises:
        TypeError, InvalidRequestError: saying what is wrong with it.
    """
    pairs = cast("Mapping[object, object]", _of_type("metadata", value, Mapping))
    checked = {
        _of_type("a key of metadata", key, str): _of_type(f"metadata[{key!r}]", text, str)
        for key, text in pairs.items()
    }
    if len(checked) > MAX_METADATA_PAIRS:
        raise InvalidRequestError(f"metadata has at most {MAX_METADATA_PAIRS} pairs.")
    for key, text in checked.items():
        if not 0 < len(key) <= MAX_METADATA_KEY or len(text) > MAX_METADATA_TEXT:
            raise InvalidRequestError(
                f"metadata takes keys of 1 to {MAX_METADATA_KEY} characters and texts of at most "
                f"{MAX_METADATA_TEXT}."
            )
    return clean(checked)


def _unknown(names: list[str]) -> str:
    """A hint for unknown options: the nearest known one, if any is near, or all of them."""
    near = [match for name in names for match in get_close_matches(name, OPTIONS, n=1)]
    meant = f"did you mean {', '.join(near)}? " if near else ""
    return f"unknown option {', '.join(names)}; {meant}Known are {', '.join(OPTIONS)}."


def _of_type(name: str, value: object, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is a {kind.__name__}, not {type(value).__name__}.")
    return value


def _optional(given: Mapping[str, Any], name: str, kind: type[_T]) -> _T | None:
    return clean(_of_type(name, given[name], kind)) if name in given else None


def _number(given: Mapping[str, Any], name: str, most: float) -> float | None:
    """A number from 0 to ``most``; a bool is refused."""
    if (value := given.get(name)) is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number, not {type(value).__name__}.")
    if not 0 <= value <= most:  # NaN is not, either
        raise InvalidRequestError(f"{name} must be from 0 to {most:g}.")
    return value


def _max_tokens(given: Mapping[str, Any]) -> int | None:
    if (value := given.get("max_tokens")) is None:
        return None
    return checked_count("max_tokens", value, MAX_COUNT)


def _listed(given: Mapping[str, Any], name: str) -> list[Any]:
    """The members of a list; one member by itself, which Python would take apart, is refused."""
    value = given.get(name, ())
    if isinstance(value, str | bytes | bytearray | Mapping) or not isinstance(value, Iterable):
        kind = type(cast("object", value)).__name__
        raise TypeError(f"{name} is a list, not {kind}: put one member in [...].")
    return list(cast("Iterable[Any]", value))


def _tool(wanted: object) -> ToolLike:
    if isinstance(wanted, str):
        return wanted
    if isinstance(wanted, Mapping):
        return cast("Mapping[str, Any]", wanted)
    return custom_tool(cast("Any", wanted))


def _image(source: object) -> JsonObject:
    if not isinstance(source, str | bytes):
        raise TypeError(f"an image is a URL or bytes, not {type(source).__name__}.")
    return image_part(source)


def _file(part: object) -> JsonObject:
    return dict(cast("JsonObject", _of_type("a file", part, Mapping)))
