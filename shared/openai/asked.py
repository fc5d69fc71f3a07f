"""What a request to either API asks for, as the command of a turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from ..config import AppSettings, ModelType
from ..foundry.models import TurnRequest
from ..foundry.tools.toolbox import OfferedTool
from ..http.field_errors import field_errors
from ..http.request import Incoming
from ..problems import FieldError, Problem, ProblemError, ProblemKind
from ..state.turns import TurnMode
from ..turns.command import TurnCommand
from ..turns.options import OptionLimits, TurnOptions, turn_request
from .models import ModelNames, Target
from .said import JsonObject, Message, Said
from .tools import NO_TOOLS, AskedTools, OfferedTools, UsableTools, usable

USER_ID = "user_id"
"""The metadata pair by which usage names a user."""

JSON_OBJECT: Mapping[str, Any] = {"title": "json_object", "type": "object"}
"""The schema of any object, which is what `json_object` asks for."""

_AGENTS_OWN = ("instructions", "temperature", "top_p")
"""Fields that a configured agent decides; every client sends some of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks for, the same for both APIs."""

    model: str
    said: Said
    stream: bool = False
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    response_format: Mapping[str, Any] | None = None
    """In the form of either API; None for text."""
    tools: AskedTools = NO_TOOLS
    stop: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    user: str | None = None
    """A label for usage, never an owner."""
    ignored: tuple[str, ...] = ()
    """Fields of the request that have no effect."""
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """The names that this API has for options of a turn."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A request that is checked."""

    command: TurnCommand
    options: TurnOptions
    """Those of the command's request, for a job."""
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Commands:
    """Makes the commands of turns."""

    names: ModelNames
    limits: OptionLimits
    settings: AppSettings
    offered_tools: OfferedTools

    def ready(self, incoming: Incoming, asked: Asked) -> Ready:
        """Check a request, and make the command of its turn.

        Raises:
            ProblemError: naming the field that is wrong.
        """
        target = self.names.find(asked.model, incoming.principal.terms)
        asked = self._without_agents_own(asked, target)
        asked = self._within_limits(asked)
        terms = incoming.principal.terms
        try:
            tools = usable(asked.tools, self._offered(asked, target), terms)
            options = _options(asked, target, tools)
            self.limits.check(options, terms)
            request = _request(asked, options, tools)
        except ProblemError as error:
            raise _renamed(error, asked.fields) from error
        seconds = self.settings.stream_seconds if asked.stream else self.settings.turn_seconds
        command = TurnCommand(
            owner=incoming.owner,
            request=request,
            seconds=seconds,
            orchestrated=target.model_type is not None,
            model_type=target.model_type,
            mode=TurnMode.STREAM if asked.stream else TurnMode.SYNC,
            caller=incoming.caller,
        )
        return Ready(command, options, (*asked.ignored, *tools.ignored))

    def _offered(self, asked: Asked, target: Target) -> list[OfferedTool]:
        """The tools of the app among which a request chooses; an agent has its own."""
        is_foundry = target.kind is ModelType.FOUNDRY_AGENT_SERVICE
        if not asked.tools.hosted or not is_foundry or self.names.asks_agent:
            return []
        return self.offered_tools()

    def _without_agents_own(self, asked: Asked, target: Target) -> Asked:
        """Leave out what a configured agent decides."""
        if target.kind is not ModelType.FOUNDRY_AGENT_SERVICE or not self.names.asks_agent:
            return asked
        values = (asked.said.instructions, asked.temperature, asked.top_p)
        given = [name for name, value in zip(_AGENTS_OWN, values, strict=True) if value is not None]
        named = [asked.fields.get(name, name) for name in given]
        said = replace(asked.said, instructions=None)
        ignored = (*asked.ignored, *named)
        return replace(asked, said=said, temperature=None, top_p=None, ignored=ignored)

    def _within_limits(self, asked: Asked) -> Asked:
        """Lower a token limit that is higher than allowed; many clients send a large constant."""
        most = self.limits.max_tokens
        if asked.max_tokens is None or asked.max_tokens <= most:
            return asked
        named = asked.fields.get("max_tokens", "max_tokens")
        return replace(asked, max_tokens=most, ignored=(*asked.ignored, named))


def _options(asked: Asked, target: Target, tools: UsableTools) -> TurnOptions:
    metadata = dict(asked.metadata)
    if asked.user:
        metadata.setdefault(USER_ID, asked.user)
    values = {
        "system_prompt": asked.said.instructions,
        "tools": list(tools.names),
        "model": target.deployment,
        "temperature": asked.temperature,
        "max_tokens": asked.max_tokens,
        "top_p": asked.top_p,
        "response_format": _response_format(asked.response_format),
        "metadata": metadata,
        "model_type": target.model_type,
    }
    try:
        return TurnOptions.model_validate(_given(values))
    except ValidationError as error:
        errors = field_errors(error.errors(include_url=False))
        listed = "; ".join(f"{each.field}: {each.reason}" for each in errors)
        problem = Problem(ProblemKind.INVALID_REQUEST, f"{listed}.", errors=errors)
        raise ProblemError(problem) from error


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty, whose validation costs time and changes nothing."""
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def _response_format(wanted: Mapping[str, Any] | None) -> dict[str, Any] | None:
    match wanted and wanted.get("type"):
        case None | "text":
            return None
        case "json_object":
            return dict(JSON_OBJECT)
        case _:
            return dict(wanted or {})


def _request(asked: Asked, options: TurnOptions, tools: UsableTools) -> TurnRequest:
    """The request of the turn: its message is that of the user at the end, if there is one.

    Clients of these APIs check the form of an answer themselves: it is paid for, so they get it.
    """
    items = asked.said.items
    message = Message.of(items[-1]) if items else None
    preceding: tuple[JsonObject, ...] = items[:-1] if message else items
    text, parts = (message.text, message.parts) if message else ("", ())
    return turn_request(
        options,
        text,
        parts=parts,
        preceding=preceding,
        client_tools=tools.functions,
        checks_format=False,
    )


def _renamed(error: ProblemError, names: Mapping[str, str]) -> ProblemError:
    """The same problem, with the names that this API has for its fields."""
    problem, detail = error.problem, error.problem.detail
    errors: list[FieldError] = []
    for each in problem.errors:
        named = _named(each, names)
        detail = detail.replace(each.field, named.field, 1)
        errors.append(named)
    return ProblemError(replace(problem, detail=detail, errors=tuple(errors)))


def _named(error: FieldError, names: Mapping[str, str]) -> FieldError:
    first, dot, rest = error.field.partition(".")
    return FieldError(f"{names.get(first, first)}{dot}{rest}", error.reason)


def texts_of(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """One text or several as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
