"""A face: a family of addresses with its own form of errors and headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .answers import Answer


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was refused or failed."""

    answer: Answer
    """The problem document, its status and its headers."""
    may_have_run: bool
    """Whether the handler was called, so that the request may have had an effect."""


def _as_problem(refusal: Refusal) -> Answer:
    return refusal.answer


NO_HEADERS: Mapping[str, str] = {}


def _no_headers(_: float) -> Mapping[str, str]:
    return NO_HEADERS


@dataclass(frozen=True, slots=True)
class Face:
    """How the addresses of a face answer."""

    name: str
    """Its name in metrics, usage and audit records."""
    refuse: Callable[[Refusal], Answer] = _as_problem
    """Makes the answer to a request that was refused or failed."""
    headers: Callable[[float], Mapping[str, str]] = _no_headers
    """More headers of every answer, given the seconds since the request arrived."""


NATIVE = Face("api")
"""The app's own HTTP API, whose errors are problem documents (RFC 9457)."""
