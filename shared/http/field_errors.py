"""The problems of requests whose fields or parameters are invalid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic_core import ErrorDetails

from ..problems import FieldError, Problem, ProblemError, ProblemKind

MAX_FIELD_ERRORS = 20
"""The most errors in one problem; a body may have a million invalid fields."""

MAX_FIELD_CHARS = 200
"""The longest field name in a problem; callers choose the names of unknown fields."""

_OWN_CHECK = "Value error, "
"""How pydantic begins the message of a validator that is ours."""


def invalid_field(field: str, reason: str) -> ProblemError:
    """The error for one invalid field."""
    errors = (FieldError(field, reason),)
    return ProblemError(Problem(ProblemKind.INVALID_REQUEST, f"{field} {reason}.", errors=errors))


def dotted_name(detail: ErrorDetails) -> str:
    """The place of an error in a document, such as `images.2`."""
    return ".".join(str(part) for part in detail["loc"])[:MAX_FIELD_CHARS] or "body"


def field_errors(
    details: Sequence[ErrorDetails], name: Callable[[ErrorDetails], str] = dotted_name
) -> tuple[FieldError, ...]:
    """The first errors of a validation."""
    return tuple(
        FieldError(name(each), each["msg"].removeprefix(_OWN_CHECK))
        for each in details[:MAX_FIELD_ERRORS]
    )
