"""The fields of requests in three classes: honoured, ignored and reported, or refused.

A model declares the fields that are honoured. A field that it does not declare is ignored, at any
depth, and named in the header `x-ignored-params`, because clients send fields of newer versions,
and of other services. A field whose absence would change what the answer means is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, cast

from pydantic import ConfigDict

from ..problems import FieldError, Problem, ProblemError, ProblemKind
from ..turns.body import Body

IGNORED_PARAMS = "x-ignored-params"

MAX_NAMED = 40
"""The most ignored fields in the header; a body may have a million unknown fields."""
MAX_NAME_CHARS = 60

EMPTY_NAME = '""'
"""How the field without a name is shown."""


class Open(Body):
    """A part of a request; fields that it does not declare are ignored and reported."""

    model_config = ConfigDict(extra="allow", defer_build=True, use_attribute_docstrings=False)

    without_effect: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Undeclared fields and the values that they have no effect with, so that they are not
    reported."""


_NESTED = (Open, list)
"""Types of values that may have fields inside."""


class RefusedFields:
    """The fields whose absence would change what the answer means."""

    def __init__(self, harmless: Mapping[str, tuple[Any, ...]], reasons: Mapping[str, str]) -> None:
        """Create it.

        Args:
            harmless: The values with which each field asks for nothing, beside null.
            reasons: Why each field is refused otherwise.
        """
        self.harmless = harmless
        self._reasons = reasons

    def check(self, body: Open) -> None:
        """Check that a body asks for nothing that is refused.

        Raises:
            ProblemError: 400 `unsupported_parameter`, naming the first such field.
        """
        for name, value in (body.model_extra or {}).items():
            if name in self._reasons and not _is_one_of(value, self.harmless.get(name, ())):
                raise unsupported(name, self._reasons[name])


def unsupported(field: str, reason: str) -> ProblemError:
    """The 400 problem of a field that is refused."""
    errors = (FieldError(field, reason),)
    detail = f"{field}: {reason}."
    return ProblemError(Problem(ProblemKind.UNSUPPORTED_PARAMETER, detail, errors=errors))


def ignored_in(body: Open) -> Iterator[str]:
    """The fields of a body that are ignored, at any depth, as dotted names without positions."""
    for name, value in (body.model_extra or {}).items():
        if not _is_one_of(value, body.without_effect.get(name, ())):
            yield name
    for name, value in vars(body).items():
        if isinstance(value, _NESTED):
            for part in _parts(cast("object", value)):
                yield from (f"{name}.{inner}" for inner in ignored_in(part))


def ignored_header(names: Iterable[str]) -> dict[str, str]:
    """The header that names ignored fields; none if there are none."""
    shown = list(dict.fromkeys(name[:MAX_NAME_CHARS] or EMPTY_NAME for name in names))
    if not shown:
        return {}
    more = [f"and {len(shown) - MAX_NAMED} more"] if len(shown) > MAX_NAMED else []
    return {IGNORED_PARAMS: ", ".join([*shown[:MAX_NAMED], *more])}


def _parts(value: object) -> Iterator[Open]:
    if isinstance(value, Open):
        yield value
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            yield from _parts(each)


def _is_one_of(value: object, values: tuple[Any, ...]) -> bool:
    """Whether a value is null or one of some values; 1 is not true, and 0 is not false."""
    return value is None or any(type(value) is type(each) and value == each for each in values)
