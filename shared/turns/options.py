"""From what a caller asks for to a turn: the one place where options are taken or refused.

A body whose fields have the right types may still hold an image that is none, a schema that is too
large, or more than the settings allow. Whatever is wrong with it is a problem of 422 that names the
field, on every way in: HTTP, the queue, and orchestration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from ..config import AppSettings, names_in
from ..foundry.content import image_part
from ..foundry.errors import InvalidRequestError
from ..foundry.models import TurnRequest
from ..foundry.structured import response_format
from ..problems import FieldError, Problem, ProblemError
from .contract import TurnOptions

ANY_MODEL = "*"

_Value = TypeVar("_Value")
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class OptionLimits:
    """What settings allow callers to ask for."""

    max_tokens: int
    models: frozenset[str]
    """Names of models; `ANY_MODEL` among them for all."""

    @classmethod
    def of(cls, settings: AppSettings) -> OptionLimits:
        """The limits that settings say."""
        foundry = settings.foundry
        models = names_in(foundry.allowed_models) or [foundry.model, *settings.models.names]
        return cls(foundry.max_tokens_limit or foundry.max_tokens, frozenset(models))

    def check(self, options: TurnOptions) -> None:
        """See to it that options are within the limits.

        Raises:
            ProblemError: 422, naming the field and the limit.
        """
        if options.max_tokens is not None and options.max_tokens > self.max_tokens:
            raise refused("max_tokens", f"must be at most {self.max_tokens}")
        if options.model is None or ANY_MODEL in self.models or options.model in self.models:
            return
        raise refused("model", f"must be one of {', '.join(sorted(self.models))}")


def turn_request(options: TurnOptions, message: str) -> TurnRequest:
    """The turn that asks ``message`` with options; a schema among them is not compiled yet.

    Raises:
        ProblemError: 422, naming the field that cannot be used.
    """
    parts = [_made(f"images.{n}", image_part, image) for n, image in enumerate(options.images)]
    wanted = options.response_format
    return TurnRequest(
        message=message,
        domain=options.domain,
        system_prompt=options.system_prompt,
        tools=tuple(options.tools),
        model=options.model,
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        top_p=options.top_p,
        metadata=options.metadata,
        parts=tuple(parts),
        response_format=_made("response_format", response_format, wanted)
        if wanted is not None
        else None,
    )


def _made(field: str, make: Callable[[_Value], _Made], value: _Value) -> _Made:
    """What ``make`` makes of the value of a field; what it cannot take is the caller's mistake."""
    try:
        return make(value)
    except InvalidRequestError as error:
        raise refused(field, error.message, error.code) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise refused(field, "cannot be used as it is") from error


def refused(field: str, reason: str, code: str = "invalid_request") -> ProblemError:
    """The problem of one field."""
    detail = reason if code != "invalid_request" else f"{field} {reason}."
    errors = (FieldError(field, reason),)
    return ProblemError(Problem(HTTPStatus.UNPROCESSABLE_ENTITY, code, detail, errors=errors))
