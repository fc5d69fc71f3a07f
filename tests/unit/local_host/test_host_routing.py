"""Route precedence of the local host, whatever the order of declaration."""

import itertools

import pytest

from local.host.functions import Function
from local.host.routing import RouteTable
from local.host.settings import HostConfigurationError

TEMPLATES = ("{*rest}", "a/{x}", "a/b", "a/{x}/{*rest}", "a/{x}/c", "{first?}")
ORDERS = list(itertools.permutations(TEMPLATES))[::37]


def http_function(route: str, *methods: str) -> Function:
    return Function(
        name=route or "unnamed",
        handler=print,
        trigger_type="httpTrigger",
        trigger={"name": "req", "route": route, "methods": methods},
        directory=".",
        takes_context=False,
    )


def found(table: RouteTable, path: str, method: str = "GET") -> str | None:
    match = table.match(method, path)
    return match.function.name if match else None


@pytest.mark.parametrize("order", ORDERS)
def test_literals_come_before_parameters_before_catch_alls(order: tuple[str, ...]) -> None:
    table = RouteTable([http_function(template) for template in order], "api")
    assert found(table, "/api/a/b") == "a/b"
    assert found(table, "/api/a/z") == "a/{x}"
    assert found(table, "/api/a/z/c") == "a/{x}/c"
    assert found(table, "/api/a/z/d/e") == "a/{x}/{*rest}"
    assert found(table, "/api/z/y") == "{*rest}"
    assert found(table, "/api/z") == "{first?}"
    assert found(table, "/other") is None


def test_a_route_of_another_method_stands_aside() -> None:
    table = RouteTable([http_function("{*rest}"), http_function("a", "GET", "PUT")], "")
    assert found(table, "/a", "get") == "a"
    assert found(table, "/a", "POST") == "{*rest}"


def test_the_function_name_is_the_default_route() -> None:
    table = RouteTable([http_function("")], "v1")
    assert found(table, "/v1/unnamed") == "unnamed"


def test_a_prefix_is_not_matched_by_its_beginning() -> None:
    assert found(RouteTable([http_function("a")], "api"), "/apia") is None


def test_a_template_that_is_not_served_says_what_is() -> None:
    with pytest.raises(HostConfigurationError, match=r"\{name\}"):
        RouteTable([http_function("a/{x:int}")], "api")
