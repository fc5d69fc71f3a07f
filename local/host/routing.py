"""Finds the HTTP function for a path and method, with the precedence of the Functions host.

Templates and precedence are those of ASP.NET Core routing, which the host uses: literal segments
before parameters before a catch-all whatever the order of declaration, letter case of literals
ignored, and the method a part of the match, so a route with another method stands aside.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote

from local.host.functions import Function
from local.host.settings import HostConfigurationError

_PARAMETER = re.compile(r"\{(\*{0,2})([A-Za-z_]\w*)(\??)\}")
_LITERAL_RANK, _PARAMETER_RANK, _CATCH_ALL_RANK = 1, 3, 5


@dataclass(frozen=True)
class Route:
    """One template, compiled."""

    function: Function
    template: str
    methods: frozenset[str]
    """Upper case; empty means every method."""
    pattern: re.Pattern[str]
    precedence: tuple[int, ...]


@dataclass(frozen=True)
class Match:
    """The function that answers a request, and its route parameters."""

    function: Function
    path_params: Mapping[str, str]


class RouteTable:
    """All HTTP functions of the app under the route prefix."""

    def __init__(self, functions: Iterable[Function], route_prefix: str) -> None:
        routes = [_compile(function, route_prefix.strip("/")) for function in functions]
        self.routes = sorted(routes, key=lambda route: route.precedence)

    def match(self, method: str, raw_path: str) -> Match | None:
        """Find the route for a path as it came over the wire, percent-encoded, without query.

        An encoded slash stays encoded, so it never splits a parameter into two segments.
        """
        path = unquote(re.sub("%2f", "%252F", raw_path, flags=re.IGNORECASE)).strip("/")
        path = f"/{path}" if path else ""
        for route in self.routes:
            if route.methods and method.upper() not in route.methods:
                continue
            found = route.pattern.fullmatch(path)
            if found:
                params = {name: value for name, value in found.groupdict().items() if value}
                return Match(route.function, params)
        return None


def _compile(function: Function, prefix: str) -> Route:
    template = str(function.trigger.get("route") or function.name).strip("/")
    segments = [segment for segment in f"{prefix}/{template}".split("/") if segment]
    compiled = [_compile_segment(segment, function.name) for segment in segments]
    # Every segment carries the slash before it, so an optional one takes its slash along.
    pattern = "".join(expression for expression, _ in compiled)
    return Route(
        function=function,
        template=f"/{'/'.join(segments)}",
        methods=_methods(function),
        pattern=re.compile(pattern, re.IGNORECASE | re.DOTALL),
        precedence=tuple(rank for _, rank in compiled),
    )


def _compile_segment(segment: str, function_name: str) -> tuple[str, int]:
    """Turn one segment into a regular expression, leading slash included, and its rank."""
    if "{" not in segment:
        return "/" + re.escape(segment), _LITERAL_RANK
    parameter = _PARAMETER.fullmatch(segment)
    if parameter is None:
        raise HostConfigurationError(
            f"function {function_name}: the local host does not serve the route segment "
            f"'{segment}'; use {{name}}, {{name?}} or {{*name}}."
        )
    stars, name, optional = parameter.groups()
    if stars:
        return f"(?:/(?P<{name}>.*))?", _CATCH_ALL_RANK
    if optional:
        return f"(?:/(?P<{name}>[^/]+))?", _PARAMETER_RANK
    return f"/(?P<{name}>[^/]+)", _PARAMETER_RANK


def _methods(function: Function) -> frozenset[str]:
    methods = cast("Iterable[object]", function.trigger.get("methods") or ())
    return frozenset(str(method).upper() for method in methods)
