"""The tools of a request: functions that the caller runs, and tools of this app by their type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from ..foundry.client_calls import client_tools
from ..foundry.errors import InvalidRequestError
from ..foundry.models import ClientTools
from ..foundry.tools.toolbox import OfferedTool
from ..problems import ProblemError
from ..state.client_keys import KeyTerms
from ..turns.options import refused
from .said import JsonObject

BETWEEN_NAMES = "__"
"""Between a namespace and a function's name, which models see as one name."""

OfferedTools = Callable[[], list[OfferedTool]]


@dataclass(frozen=True, slots=True)
class AskedTools:
    """The tools of a request, in the form of the Responses API."""

    functions: tuple[JsonObject, ...] = ()
    hosted: tuple[str, ...] = ()
    """Types of tools that a service runs."""
    choice: str | JsonObject | None = None
    parallel: bool | None = None
    namespaces: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Namespace and name of each function that has one, by the name that models see."""


NO_TOOLS = AskedTools()


@dataclass(frozen=True, slots=True)
class UsableTools:
    """The tools of a turn, and the fields that have no effect."""

    names: tuple[str, ...]
    """Tools of the app."""
    functions: ClientTools | None
    ignored: tuple[str, ...]


_NOTHING_USABLE = UsableTools((), None, ())


def read_tools(
    given: Sequence[Mapping[str, Any]],
    choice: str | Mapping[str, Any] | None,
    *,
    parallel: bool | None,
) -> AskedTools:
    """Read the tools of a request; those in a namespace get the names that models see.

    Raises:
        ProblemError: naming the field that is wrong.
    """
    if not given and choice is None:
        return NO_TOOLS
    functions: list[JsonObject] = []
    hosted: list[str] = []
    namespaces: dict[str, tuple[str, str]] = {}
    for number, tool in enumerate(given):
        match tool.get("type"):
            case "function":
                functions.append(dict(tool))
            case "namespace":
                for inner in _functions_of(tool, f"tools.{number}"):
                    seen = f"{tool['name']}{BETWEEN_NAMES}{inner.get('name')}"
                    namespaces[seen] = (str(tool["name"]), str(inner.get("name")))
                    functions.append({**inner, "name": seen})
            case str() as kind:
                hosted.append(kind)
            case _:
                raise refused(f"tools.{number}.type", "must be given")
    known = None if choice is None or isinstance(choice, str) else dict(choice)
    asked = known or (choice if isinstance(choice, str) else None)
    return AskedTools(tuple(functions), tuple(hosted), asked, parallel, namespaces)


def _functions_of(namespace: Mapping[str, Any], place: str) -> list[Mapping[str, Any]]:
    tools = namespace.get("tools")
    if not isinstance(namespace.get("name"), str) or not isinstance(tools, list):
        raise refused(place, "a namespace has a name and tools")
    known = (cast("Mapping[str, Any]", tool) for tool in tools if isinstance(tool, Mapping))  # pyright: ignore[reportUnknownVariableType]
    return [tool for tool in known if tool.get("type") == "function"]


def usable(
    asked: AskedTools, offered: Sequence[OfferedTool], terms: KeyTerms | None
) -> UsableTools:
    """What a turn can do with the tools of a request.

    Tools of the app are used if they are configured and the caller's key allows them; all others
    that a service would run are left out.

    Raises:
        ProblemError: if a function or the choice is wrong.
    """
    if asked is NO_TOOLS:
        return _NOTHING_USABLE
    names: list[str] = []
    ignored: list[str] = []
    for kind in asked.hosted:
        tool = next((each for each in offered if kind == each.name or kind in each.types), None)
        is_usable = tool is not None and not tool.missing
        if tool is not None and is_usable and (terms is None or terms.allows_tool(tool.name)):
            names.append(tool.name)
        else:
            ignored.append(f"tools.{kind}")
    choice = asked.choice
    is_of_function = isinstance(choice, str) or (choice or {}).get("type") == "function"
    if choice is not None and (not asked.functions or not is_of_function):
        ignored += [] if choice in ("auto", "none") else ["tool_choice"]
        choice = None
    return UsableTools(tuple(names), _client_tools(asked, choice), tuple(ignored))


def _client_tools(asked: AskedTools, choice: str | JsonObject | None) -> ClientTools | None:
    if not asked.functions:
        return None
    try:
        return client_tools(asked.functions, choice, parallel=asked.parallel)
    except InvalidRequestError as error:
        raise _wrong(error) from error


def _wrong(error: InvalidRequestError) -> ProblemError:
    field_name = "tool_choice" if error.message.startswith("tool_choice") else "tools"
    return refused(field_name, error.message, error.code)
