"""Finds the HTTP function for a path and method as the Functions host does.

The host tries the routes in the order of their functions' names and uses the first that matches
path and method. Literal segments have no precedence over parameters, nor parameters over
catch-alls: a function whose name sorts earlier hides all later ones that its template covers.
https://github.com/Azure/azure-functions-host/issues/9876
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import cast
from urllib.parse import unquote

from local.host.functions import Function
from local.host.settings import HostConfigurationError

ALL_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
RESERVED_BEGINNINGS = ("admin", "runtime")
"""Reserved for the host's controllers; it refuses functions whose template begins with one."""

_PARAMETER = re.compile(r"\{(\*{0,2})([A-Za-z_]\w*)(\??)\}")


class Kind(Enum):
    """What a segment of a template matches."""

    LITERAL = "one segment, letter case ignored"
    PARAMETER = "any one segment"
    OPTIONAL = "any one segment, or the end of the path"
    CATCH_ALL = "the rest of the path, or its end"


@dataclass(frozen=True)
class Segment:
    """One segment of a template: a literal's text, or a parameter's name."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Route:
    """One template, parsed."""

    function: Function
    template: str
    methods: frozenset[str]
    segments: tuple[Segment, ...]

    def fit(self, path: str) -> dict[str, str] | None:
        """The parameters of a decoded path that begins with a slash; None if it does not match."""
        parts = path[1:].split("/")
        if not parts[-1]:  # one slash at the end, or an empty path
            parts.pop()
        parameters: dict[str, str] = {}
        for index, part in enumerate(parts):
            if not part or index == len(self.segments):
                return None
            segment = self.segments[index]
            if segment.kind is Kind.CATCH_ALL:
                parameters[segment.text] = "/".join(path[1:].split("/")[index:])
                return parameters
            if segment.kind is not Kind.LITERAL:
                parameters[segment.text] = part
            elif segment.text.upper() != part.upper():
                return None
        rest = self.segments[len(parts) :]
        needed = any(each.kind in {Kind.LITERAL, Kind.PARAMETER} for each in rest)
        return None if needed else parameters

    def covers(self, other: "Route") -> bool:
        """Whether this template matches every path that the other one matches."""
        for index, theirs in enumerate(other.segments):
            ours = self.segments[index] if index < len(self.segments) else None
            if ours is None or (ours.kind is not Kind.CATCH_ALL and not _takes(ours, theirs)):
                return False
            if ours.kind is Kind.CATCH_ALL:
                return True
        rest = self.segments[len(other.segments) :]
        return all(each.kind in {Kind.OPTIONAL, Kind.CATCH_ALL} for each in rest)


@dataclass(frozen=True)
class Match:
    """The function that answers a request, and its route parameters."""

    function: Function
    path_params: Mapping[str, str]


class RouteTable:
    """All HTTP functions of the app under the route prefix, in the order they are tried."""

    def __init__(self, functions: Iterable[Function], route_prefix: str) -> None:
        """Parse all templates.

        Raises:
            HostConfigurationError: The Functions host refuses a template, or this host does not
                support it.
        """
        prefix = route_prefix.strip("/")
        self.routes = sorted((_parse(each, prefix) for each in functions), key=_turn)
        _refuse_conflicts(self.routes)

    def match(self, method: str, raw_path: str) -> Match | None:
        """Find the route for a path as it came over the wire, percent-encoded, without query."""
        path = decoded(raw_path)
        for route in self.routes:
            if method.upper() not in route.methods:
                continue
            parameters = route.fit(path)
            if parameters is not None:
                return Match(route.function, parameters)
        return None

    def hidden(self) -> Iterable[tuple[Route, Sequence[Route]]]:
        """The routes that no request can reach, each with those that are tried before it."""
        for position, route in enumerate(self.routes):
            before = [each for each in self.routes[:position] if each.covers(route)]
            if before and route.methods <= frozenset[str]().union(*(b.methods for b in before)):
                yield route, before


def decoded(raw_path: str) -> str:
    """Decode a path, except encoded slashes, which do not separate segments."""
    return unquote(re.sub("%2f", "%252F", raw_path, flags=re.IGNORECASE))


def _turn(route: Route) -> str:
    """The order of .NET's OrdinalIgnoreCase, which compares upper-case letters."""
    return route.function.name.upper()


def _takes(ours: Segment, theirs: Segment) -> bool:
    if theirs.kind in {Kind.OPTIONAL, Kind.CATCH_ALL}:
        return ours.kind is theirs.kind
    return ours.kind is not Kind.LITERAL or (
        theirs.kind is Kind.LITERAL and ours.text.upper() == theirs.text.upper()
    )


def _refuse_conflicts(routes: Sequence[Route]) -> None:
    seen: dict[str, list[Route]] = {}
    for route in routes:
        same = seen.setdefault(route.template.upper(), [])
        for other in same:
            if shared := route.methods & other.methods:
                raise HostConfigurationError(
                    f"functions {other.function.name} and {route.function.name} both have the "
                    f"route '{route.template}' for {', '.join(sorted(shared))}; the Functions "
                    "host refuses the second. Change one of them."
                )
        same.append(route)


def _parse(function: Function, prefix: str) -> Route:
    template = str(function.trigger.get("route") or function.name).strip("/")
    if template.lower().startswith(RESERVED_BEGINNINGS):
        raise HostConfigurationError(
            f"function {function.name}: the route '{template}' begins with "
            f"{' or '.join(RESERVED_BEGINNINGS)}, which the Functions host reserves. "
            "Choose another beginning."
        )
    whole = f"{prefix}/{template}".strip("/")
    texts = whole.split("/") if whole else []
    segments = tuple(_parse_segment(text, function.name) for text in texts)
    if complaint := _complaint(segments):
        raise HostConfigurationError(
            f"function {function.name}: in the route '{template}' {complaint}"
        )
    methods = cast("Iterable[object]", function.trigger.get("methods") or ())
    return Route(
        function=function,
        template=f"/{whole}",
        methods=frozenset(str(method).upper() for method in methods) or ALL_METHODS,
        segments=segments,
    )


def _parse_segment(text: str, function_name: str) -> Segment:
    if not set("{}*?") & set(text):
        return Segment(Kind.LITERAL, text)
    parameter = _PARAMETER.fullmatch(text)
    if parameter is None or (parameter[1] and parameter[3]):
        raise HostConfigurationError(
            f"function {function_name}: the local host does not serve the route segment "
            f"'{text}'; use {{name}}, {{name?}} or {{*name}}."
        )
    stars, name, optional = parameter.groups()
    kind = Kind.CATCH_ALL if stars else Kind.OPTIONAL if optional else Kind.PARAMETER
    return Segment(kind, name)


def _complaint(segments: Sequence[Segment]) -> str | None:
    """Why the Functions host cannot parse a template; None if it can."""
    names = [each.text.upper() for each in segments if each.kind is not Kind.LITERAL]
    if len(set(names)) < len(names):
        return "a parameter's name appears twice."
    if any(not each.text for each in segments):
        return "two slashes follow each other."
    if any(each.kind in {Kind.OPTIONAL, Kind.CATCH_ALL} for each in segments[:-1]):
        return "an optional parameter or a catch-all is not the last segment."
    return None
