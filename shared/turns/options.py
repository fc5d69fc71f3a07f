"""The options of a turn, and their validation.

A body whose fields have the right types may still contain a broken image, a schema that is too
large, or a value beyond the limits. Each is a 422 problem that names the field, for HTTP requests
and queue messages alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, Field, WithJsonSchema
from typing_extensions import TypeAliasType  # typing has it since Python 3.12

from ..config import NOT_SERVED, AppSettings, ModelType, Preferences, names_in
from ..documents import JsonObject, json_integer
from ..foundry.client_calls import MAX_OUTPUTS
from ..foundry.content import image_part
from ..foundry.errors import InvalidRequestError
from ..foundry.models import Approval, ClientTools, TurnRequest
from ..foundry.structured import response_format
from ..problems import FieldError, Problem, ProblemError, ProblemKind, kind_of
from ..state.client_keys import KeyTerms
from .body import MAX_NAME_CHARS, Body, Metadata, Name

ANY_MODEL = "*"

MAX_IMAGES = 10

MAX_TOOLS = 128
"""The most tools of a Foundry agent."""

MAX_APPROVAL_ID = 512
MAX_REASON_CHARS = 1024

MAX_INTEGER = 2**31 - 1
"""The largest whole number that the services behind the app accept."""

_Value = TypeVar("_Value")
_Made = TypeVar("_Made")


def _is_json(document: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(document, allow_nan=False)
    except ValueError:
        raise ValueError(
            "must not contain NaN, Infinity or integers of thousands of digits"
        ) from None
    return document


def _is_served(kind: ModelType) -> ModelType:
    if kind in NOT_SERVED:
        raise ValueError(NOT_SERVED[kind])
    return kind


_SERVED = {"type": "string", "enum": [kind.value for kind in ModelType if kind not in NOT_SERVED]}

ServedModelType = TypeAliasType(
    "ServedModelType", Annotated[ModelType, AfterValidator(_is_served), WithJsonSchema(_SERVED)]
)
"""A type of model that settings can configure."""


class ApprovalBody(Body):
    """The answer to a request for approval."""

    id: Name = Field(max_length=MAX_APPROVAL_ID)
    """The `id` of the request."""

    approve: bool
    """Whether the tool may run."""

    reason: str | None = Field(default=None, max_length=MAX_REASON_CHARS)
    """The reason, which the model gets."""


class TurnOptions(Body):
    """How a message should be answered; what is left out is as configured."""

    asks_any_model: ClassVar[bool] = False
    """Whether the preferred model of the domain answers if no `model_type` is given."""

    domain: Name = Field(default="general", max_length=64)
    """Field the message is about; counted in metrics, and sent to a model called directly."""

    system_prompt: str | None = Field(default=None, max_length=256 * 1024)
    """Instructions for a model called directly; an agent has its own."""

    tools: list[Annotated[Name, Field(max_length=MAX_NAME_CHARS)]] = Field(
        default=[], max_length=MAX_TOOLS
    )
    """Names of tools the model may use."""

    model: Name | None = Field(default=None, max_length=MAX_NAME_CHARS)
    """Model deployment, in place of the configured one; one that the settings allow."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature."""

    max_tokens: Annotated[int, Field(ge=1, le=MAX_INTEGER), json_integer] | None = None
    """The most tokens the answer may have; at most what the settings allow."""

    top_p: float | None = Field(default=None, ge=0, le=1)
    """Nucleus sampling."""

    images: list[str] = Field(default=[], max_length=MAX_IMAGES)
    """Images to look at: https or data URLs of PNG, JPEG or WEBP; the model must take them."""

    response_format: Annotated[dict[str, Any], AfterValidator(_is_json)] | None = None
    """A JSON schema that the answer must follow, as `{"type": "json_schema", ...}` or bare."""

    metadata: Metadata = Field(default={})
    """Up to 16 pairs kept with the turn; keys of at most 64, texts of at most 512 characters."""

    approvals: list[ApprovalBody] = Field(default=[], max_length=MAX_OUTPUTS)
    """Answers to what the last turn of the thread listed in `requests`; what is left out there is
    denied."""

    model_type: ServedModelType | None = None
    """The model to ask first, with others to answer where it fails. Left out, `/orchestrate` asks
    the one preferred for the domain, and every other route asks Foundry alone."""


@dataclass(frozen=True, slots=True)
class OptionLimits:
    """The limits that the settings put on options."""

    max_tokens: int
    models: frozenset[str]
    """The allowed models; `ANY_MODEL` allows all."""
    configured: Mapping[ModelType, str]
    """The models that answer if none is named, by type; empty where a service or an agent has its
    own."""
    preferences: Preferences

    @classmethod
    def of(cls, settings: AppSettings) -> OptionLimits:
        """Read the limits from the settings."""
        foundry = settings.foundry
        models = names_in(foundry.allowed_models) or [foundry.model, *settings.models.names]
        of_foundry = "" if foundry.asks_agent else foundry.model
        return cls(
            foundry.max_tokens_limit or foundry.max_tokens,
            frozenset(models),
            {ModelType.FOUNDRY_AGENT_SERVICE: of_foundry, **settings.models.by_type},
            Preferences.parse(settings.models.preferences),
        )

    def check(self, options: TurnOptions, terms: KeyTerms | None = None) -> None:
        """Check that options are within the limits, and within those of a client key.

        Raises:
            ProblemError: 422, naming the field and the limit; 403 if only the key forbids it.
        """
        self._check_values(options)
        if terms is not None:
            self._check_terms(options, terms)

    def _check_terms(self, options: TurnOptions, terms: KeyTerms) -> None:
        if terms.models is not None and not self._may_answer(options, terms):
            raise _not_in_key("model", terms.models)
        if terms.tools is not None and not all(map(terms.allows_tool, options.tools)):
            raise _not_in_key("tools", terms.tools)

    def _may_answer(self, options: TurnOptions, terms: KeyTerms) -> bool:
        """Whether a key allows the model that is named, or one that may answer without a name."""
        kinds = [options.model_type or ModelType.FOUNDRY_AGENT_SERVICE]
        if options.asks_any_model and options.model_type is None:
            kinds = list(self.preferences.order(options.domain))
        names = [(kind, options.model or self.configured.get(kind)) for kind in kinds]
        return any(terms.allows_model(kind, name) for kind, name in names)

    def _check_values(self, options: TurnOptions) -> None:
        if options.max_tokens is not None and options.max_tokens > self.max_tokens:
            raise refused("max_tokens", f"must be at most {self.max_tokens}")
        if options.model is None or ANY_MODEL in self.models or options.model in self.models:
            return
        raise refused("model", f"must be one of {', '.join(sorted(self.models))}")


def turn_request(
    options: TurnOptions,
    message: str,
    *,
    parts: Sequence[JsonObject] = (),
    preceding: tuple[JsonObject, ...] = (),
    client_tools: ClientTools | None = None,
    checks_format: bool = True,
) -> TurnRequest:
    """Make the request of a turn; a response format's schema is not compiled yet.

    The images of the options come before ``parts``; for the others, see `TurnRequest`.

    Raises:
        ProblemError: 422, naming the field that is invalid.
    """
    images = [_made(f"images.{n}", image_part, image) for n, image in enumerate(options.images)]
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
        parts=(*images, *parts),
        preceding=preceding,
        client_tools=client_tools,
        checks_format=checks_format,
        approvals=tuple(Approval(a.id, a.approve, a.reason) for a in options.approvals),
        response_format=_made("response_format", response_format, wanted)
        if wanted is not None
        else None,
    )


def _made(field: str, make: Callable[[_Value], _Made], value: _Value) -> _Made:
    """Convert the value of a field with ``make``, and report its errors as a 422 problem."""
    try:
        return make(value)
    except InvalidRequestError as error:
        raise refused(field, error.message, error.code) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise refused(field, "cannot be used as it is") from error


def _not_in_key(field: str, allowed: tuple[str, ...]) -> ProblemError:
    """The 403 problem of a field that the caller's client key does not allow."""
    reason = f"must be one of {', '.join(allowed)}" if allowed else "must be left out"
    detail = f"The client key does not allow this: {field} {reason}."
    return ProblemError(Problem(ProblemKind.FORBIDDEN, detail, errors=(FieldError(field, reason),)))


def refused(field: str, reason: str, code: str = "invalid_request") -> ProblemError:
    """The 422 problem of one field."""
    detail = reason if code != "invalid_request" else f"{field} {reason}."
    errors = (FieldError(field, reason),)
    return ProblemError(Problem(kind_of(422, code), detail, errors=errors))
