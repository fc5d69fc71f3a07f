"""Which query parameters a route takes: a misspelt one is refused, not ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

from ..problems import FieldError, Problem, ProblemError, ProblemKind
from .principal import OWNER_PARAMETER

EVERYWHERE = (OWNER_PARAMETER, "code", "clientId")
"""The owner that an admin names; a function key and its name, which the Functions host reads."""

MAX_SHOWN_CHARS = 100

_Handler = TypeVar("_Handler", bound=Callable[..., Any])

_taken: dict[Callable[..., Any], tuple[str, ...]] = {}


def query(*names: str) -> Callable[[_Handler], _Handler]:
    """Say which parameters a handler takes; one that ends with a dot is how several begin."""

    def declare(handler: _Handler) -> _Handler:
        _taken[handler] = names
        return handler

    return declare


def check_names(handler: Callable[..., Any], given: Iterable[str]) -> None:
    """See to it that a handler takes all parameters of a request.

    Raises:
        ProblemError: 422, naming what is unknown and the nearest that is known.
    """
    function = getattr(handler, "__func__", handler)  # handlers are methods of a resource
    known = (*_taken.get(function, ()), *EVERYWHERE)
    for name in given:
        if not any(_is(name, each) for each in known):
            raise ProblemError(_unknown(name, known))


def _is(name: str, known: str) -> bool:
    return name == known or (known.endswith(".") and name.startswith(known) and name != known)


def _unknown(name: str, known: Iterable[str]) -> Problem:
    shown = name[:MAX_SHOWN_CHARS]
    offered = [each for each in known if each not in EVERYWHERE[1:]]
    nearest = get_close_matches(shown.lower(), offered, 1, cutoff=0.0)
    reason = f"is no parameter of this address; did you mean {nearest[0]}?"
    return Problem(
        ProblemKind.INVALID_REQUEST,
        f"{shown} {reason}",
        errors=(FieldError(shown, reason),),
    )
