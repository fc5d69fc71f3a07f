"""The app's addresses lead to the same functions whichever rule picks a route.

The Functions host takes the first that fits in the order of function names; ASP.NET prefers
literals to parameters to catch-alls. A route that depends on either is one renaming from breaking.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import pytest

from local.host.functions import Function
from local.host.routing import ALL_METHODS, Kind, Route, RouteTable
from local.services import ROOT
from tests.e2e.test_ownership import registered

SAMPLES = ("x", "messages", "metadata", "THREADS", "a%2Fb", "%2e%2e", "é", "{id}", "*", "a b", "0")
"""Values of a parameter: plain, equal to literals of other templates, and awkward ones."""
SERVED_BY_THE_WORKER = ("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json")
"""The worker's web server answers these itself; a function that fits one is left waiting."""
OF_THE_PLATFORM = (
    "/",
    "/admin",
    "/admin/host/status",
    "/runtime/webhooks/x",
    "/.auth/me",
    "/.auth",
)
"""The Functions host and App Service authentication answer these."""

_RANKS = (Kind.LITERAL, Kind.PARAMETER, Kind.OPTIONAL, Kind.CATCH_ALL)


def app_functions() -> list[Function]:
    return [
        Function(name, print, "httpTrigger", trigger, ".", takes_context=False)
        for name, trigger in registered()
        if str(trigger["type"]).endswith("httpTrigger")
    ]


def http_function(name: str, method: str, route: str) -> Function:
    trigger = {"type": "httpTrigger", "route": route, "methods": [method]}
    return Function(name, print, "httpTrigger", trigger, ".", takes_context=False)


def addresses(route: Route) -> Iterable[str]:
    """Paths made from a template, each parameter in turn with every sample."""
    for sample in SAMPLES:
        parts = [s.text if s.kind is Kind.LITERAL else sample for s in route.segments]
        yield "/" + "/".join(parts)


def differences(functions: Sequence[Function]) -> list[str]:
    """What a rename would change, a sentence each."""
    by_name = RouteTable(_plain(functions), "")
    by_precedence = RouteTable(_plain(functions), "")
    by_precedence.routes.sort(key=lambda r: [_RANKS.index(s.kind) for s in r.segments])
    found: set[str] = set()
    for route in by_name.routes:
        for path in addresses(route):
            for method in sorted(ALL_METHODS):
                first = by_name.match(method, path)
                best = by_precedence.match(method, path)
                if first and best and first.function.name != best.function.name:
                    found.add(
                        f"{method} {route.template} reaches {first.function.name} instead of "
                        f"{best.function.name}, because the Functions host tries routes in the "
                        "order of function names. Rename one so that the more special one is "
                        "first."
                    )
    return sorted(found)


def _plain(functions: Iterable[Function]) -> list[Function]:
    """With methods as the host reads them, whatever the enumeration prints."""
    return [
        Function(
            each.name,
            each.handler,
            each.trigger_type,
            {**each.trigger, "methods": [str(m).rpartition(".")[2] for m in _methods(each)]},
            each.directory,
            takes_context=False,
        )
        for each in functions
    ]


def _methods(function: Function) -> list[object]:
    methods = function.trigger["methods"]
    assert isinstance(methods, list)
    return methods


def renamed(functions: Iterable[Function], name: str) -> list[Function]:
    """The app's functions with another name for the catch-all."""
    return [
        Function(
            name if "*path}" in str(each.trigger["route"]) else each.name,
            each.handler,
            each.trigger_type,
            each.trigger,
            each.directory,
            takes_context=False,
        )
        for each in functions
    ]


def test_every_address_leads_to_one_function_under_both_rules() -> None:
    assert differences(app_functions()) == []


def test_every_route_can_be_reached() -> None:
    assert list(RouteTable(_plain(app_functions()), "").hidden()) == []


def test_the_catch_all_is_tried_last() -> None:
    last = RouteTable(_plain(app_functions()), "").routes[-1]
    assert last.segments[-1].kind is Kind.CATCH_ALL


def test_a_catch_all_whose_name_comes_first_is_noticed() -> None:
    found = differences(renamed(app_functions(), "a_unmatched"))
    assert any(
        sentence.startswith("POST /api/messages reaches a_unmatched instead of send_message, "
                            "because the Functions host tries routes in the order of")
        for sentence in found
    )  # fmt: skip


def test_a_function_whose_name_sorts_behind_the_catch_all_is_noticed() -> None:
    update = http_function("update_thread", "PUT", "api/threads/{thread_id}/x")
    found = differences([*renamed(app_functions(), "update_other"), update])
    assert [sentence.partition(",")[0] for sentence in found] == [
        "PUT /api/threads/{thread_id}/x reaches update_other instead of update_thread"
    ]
    assert differences([*app_functions(), update]) == []


@pytest.mark.parametrize("path", [*SERVED_BY_THE_WORKER, *OF_THE_PLATFORM])
def test_no_function_fits_an_address_that_another_part_answers_itself(path: str) -> None:
    prefix = json.loads((ROOT / "host.json").read_text())["extensions"]["http"]["routePrefix"]
    table = RouteTable(_plain(app_functions()), prefix)
    assert [m for m in ALL_METHODS if table.match(m, path)] == []
