"""The queries of requests: the model of an address parses its query and describes it.

A parameter that the model does not have is refused, and so is one that is given twice, because
callers and proxies disagree about which of the two counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails
from starlette.datastructures import QueryParams

from ..problems import Problem, ProblemError, ProblemKind
from ..state.keys import Kind, id_pattern, is_id
from .field_errors import MAX_FIELD_CHARS, field_errors, invalid_field
from .principal import OWNER_PARAMETER

PAGE_SIZE = 20
MAX_PAGE_SIZE = 100

MAX_PARAMETER_CHARS = 2_048
"""The longest value; cursors are the longest valid ones."""

EARLIEST_DAY = date(2000, 1, 1)
"""No record is older; and there must be a day before the first one."""

HOST_PARAMETERS = ("code", "clientId")
"""The Functions host's parameters of a key."""

EVERYWHERE = (OWNER_PARAMETER, *HOST_PARAMETERS)
"""Every address takes these."""

MAX_SHOWN_CHARS = 100

MAX_NAMES = 20
"""In one list: more than there are dimensions."""

_CONTROL_CHARACTERS = r"\x00-\x1f\x7f-\x9f"
_CONTROL = re.compile(f"[{_CONTROL_CHARACTERS}]")
PRINTABLE = f"^[^{_CONTROL_CHARACTERS}]*$"
"""The pattern of every text in a query."""
_INTEGER = re.compile(r"-?[0-9]{1,9}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BOOLEANS = {"true": True, "false": False}

_Query = TypeVar("_Query", bound="Query")


class Query(BaseModel):
    """The query parameters of an address; this one takes none.

    A field whose name ends with a dot has all parameters that begin with it. The docstrings of the
    fields are read when the API document is built: at import, they would cost more than all else.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    ignores_unknown: ClassVar[bool] = False  # whether parameters that it does not have are ignored

    @classmethod
    def names(cls) -> list[str]:
        """The parameters as callers write them."""
        return [field.alias or name for name, field in cls.model_fields.items()]


def _whole_number(value: Any) -> Any:
    """Read what JSON calls an integer; pydantic would also take the text `5.0`, and true."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and _INTEGER.fullmatch(value)):
        return value
    raise ValueError("must be a whole number")


def _boolean(value: Any) -> Any:
    if isinstance(value, str) and value not in _BOOLEANS:
        raise ValueError("must be true or false")
    return _BOOLEANS[value] if isinstance(value, str) else value


def _day(value: Any) -> Any:
    try:
        day = date.fromisoformat(value) if _DAY.fullmatch(str(value)) else None
    except ValueError:
        day = None
    if day is None:
        raise ValueError("must be a day, YYYY-MM-DD")
    return day


def _not_too_early(day: date) -> date:
    if day < EARLIEST_DAY:
        raise ValueError(f"must not be before {EARLIEST_DAY}")
    return day


def _names(value: Any) -> list[Any]:
    """Split names at commas; an empty text has none."""
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",")] if value else []
    names = cast("list[Any]", value if isinstance(value, list) else [value])
    if len(names) > MAX_NAMES:
        raise ValueError(f"must have at most {MAX_NAMES} names")
    if len(set(map(repr, names))) < len(names):
        raise ValueError("must not have a name twice")
    return names


def last_id(kind: Kind) -> AfterValidator:
    """Checks a cursor that is the id of the last object of the page before."""

    def check(cursor: str) -> str:
        if not is_id(kind, cursor):
            raise ValueError("must be the next_cursor of an earlier page")
        return cursor

    return AfterValidator(check)


def id_schema(kind: Kind) -> WithJsonSchema:
    """The schema of an id."""
    return WithJsonSchema({"type": "string", "pattern": id_pattern(kind)})


whole_number = BeforeValidator(_whole_number)
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Day = Annotated[
    date,
    BeforeValidator(_day),
    AfterValidator(_not_too_early),
    WithJsonSchema({"type": "string", "format": "date", "pattern": "^[2-9][0-9]{3}-"}),
]
"""A day in UTC."""
comma_separated = BeforeValidator(_names)


class PageQuery(Query):
    """The parameters of a list."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE), whole_number] = PAGE_SIZE
    """The most entries of the page."""


def read_query(model: type[_Query], given: QueryParams) -> _Query:
    """The validated query of a request.

    Raises:
        ProblemError: 422, naming the first unknown parameter, or each invalid one.
    """
    names, values, seen = model.names(), dict[str, Any](), set[str]()
    for name, text in given.multi_items():
        _check_text(name, text)
        if name in seen and name not in HOST_PARAMETERS:
            raise invalid_field(name, "must be given once")
        seen.add(name)
        if name not in EVERYWHERE and not (model.ignores_unknown and name not in names):
            field, key = _place(name, names)
            target = values.setdefault(field, {}) if key else values
            target[key or field] = text
    return _validated(model, values)


def read_arguments(model: type[_Query], given: Mapping[str, Any]) -> _Query:
    """The validated parameters of a request that has them in a JSON object.

    There, a field whose name ends with a dot is an object of its own.

    Raises:
        ProblemError: 422, naming each unknown or invalid parameter.
    """
    for name, value in given.items():
        for text in _texts(value):
            _check_text(name, text)
    fields = {name.removesuffix("."): name for name in model.names()}
    return _validated(model, {fields.get(name, name): value for name, value in given.items()})


def _validated(model: type[_Query], values: Mapping[str, Any]) -> _Query:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        errors = field_errors(error.errors(include_url=False), _parameter)
    listed = "; ".join(f"{each.field}: {each.reason}" for each in errors)
    raise ProblemError(Problem(ProblemKind.INVALID_REQUEST, f"{listed}.", errors=errors))


def _texts(value: Any) -> Iterator[str]:
    """The texts in a JSON value, and the names of members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in cast("dict[str, Any]", value).items():
            yield name
            yield from _texts(member)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _texts(item)


def _parameter(detail: ErrorDetails) -> str:
    """The parameter of an error; those of a field whose name ends with a dot have a key."""
    name, *inner = map(str, detail["loc"])
    return f"{name}{inner[0]}" if inner and name.endswith(".") else name.removesuffix(".")


def _check_text(name: str, text: str) -> None:
    """Check that a parameter is short enough and has no control characters."""
    shown = _CONTROL.sub("?", name)[:MAX_FIELD_CHARS]
    if _CONTROL.search(name) or _CONTROL.search(text):
        raise invalid_field(shown, "must not contain control characters")
    if len(name) > MAX_FIELD_CHARS:
        raise invalid_field(shown, f"is a name of more than {MAX_FIELD_CHARS} characters")
    if len(text) > MAX_PARAMETER_CHARS:
        raise invalid_field(shown, f"must have at most {MAX_PARAMETER_CHARS} characters")


def _place(name: str, names: list[str]) -> tuple[str, str]:
    """The field of a parameter, and its key in a field whose name ends with a dot."""
    for known in names:
        if name == known and not known.endswith("."):
            return known, ""
        if known.endswith(".") and name.startswith(known) and name != known:
            return known, name.removeprefix(known)
    shown = name[:MAX_SHOWN_CHARS]
    nearest = get_close_matches(shown.lower(), [*names, OWNER_PARAMETER], 1, cutoff=0.0)
    reason = f"is not a parameter of this address; did you mean {nearest[0]}?"
    raise invalid_field(shown, reason)
