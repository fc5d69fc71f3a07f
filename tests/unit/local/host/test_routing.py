"""Routes of the local host: tried in the order of the functions' names, and the first fit wins."""

from __future__ import annotations

import pytest

from local.host.functions import Function
from local.host.routing import RouteTable
from local.host.settings import HostConfigurationError


def http_function(name: str, route: str = "", *methods: str) -> Function:
    return Function(
        name=name,
        handler=print,
        trigger_type="httpTrigger",
        trigger={"name": "req", "route": route, "methods": methods},
        directory=".",
        takes_context=False,
    )


def table(*functions: tuple[str, str], prefix: str = "api") -> RouteTable:
    return RouteTable([http_function(*each) for each in functions], prefix)


def found(routes: RouteTable, path: str, method: str = "GET") -> str | None:
    match = routes.match(method, path)
    return match.function.name if match else None


def test_a_catch_all_whose_name_comes_first_swallows_every_address() -> None:
    routes = table(("z_items", "items"), ("a_rest", "{*path}"))
    assert found(routes, "/api/items") == "a_rest"


def test_a_parameter_whose_name_comes_first_hides_a_literal() -> None:
    routes = table(("search_items", "items/search"), ("get_item", "items/{id}"))
    assert found(routes, "/api/items/search") == "get_item"


def test_names_are_ordered_as_net_orders_them_without_letter_case() -> None:
    # .NET compares upper-case letters, which come before the underscore
    routes = table(("get_x", "{a}"), ("getz", "{b}"), ("GetB", "{c}"))
    assert [route.function.name for route in routes.routes] == ["GetB", "getz", "get_x"]


def test_a_route_of_another_method_falls_through_to_the_next_that_fits() -> None:
    routes = RouteTable([http_function("a", "x", "GET", "PUT"), http_function("b", "{*rest}")], "")
    assert found(routes, "/x", "get") == "a"
    assert found(routes, "/x", "POST") == "b"


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/api/items/1", {"id": "1"}),
        ("/API/Items/1", {"id": "1"}),
        ("/api/items/1/", {"id": "1"}),
        ("/api/items/a%20b", {"id": "a b"}),
        ("/api/items/a%2Fb", {"id": "a%2Fb"}),
        ("/api/items/a%2fb", {"id": "a%2Fb"}),
        ("/api//items/1", None),
        ("//api/items/1", None),
        ("/api/items//1", None),
        ("/api/items/1//", None),
        ("/api/items", None),
        ("/api/items/1/2", None),
        ("/apiitems/1", None),
    ],
)
def test_a_parameter_takes_one_segment(path: str, parameters: dict[str, str] | None) -> None:
    match = table(("get_item", "items/{id}")).match("GET", path)
    assert (match.path_params if match else None) == parameters


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/api", {}),
        ("/api/", {}),
        ("/api/a/b", {"path": "a/b"}),
        ("/api/a//b", {"path": "a//b"}),
        ("/api//a", None),
        ("/other", None),
        ("/", None),
    ],
)
def test_a_catch_all_takes_the_rest(path: str, rest: dict[str, str] | None) -> None:
    match = table(("rest", "{*path}")).match("GET", path)
    assert (match.path_params if match else None) == rest


def test_an_optional_parameter_may_be_missing() -> None:
    routes = table(("a", "a/{x?}"))
    assert found(routes, "/api/a") == found(routes, "/api/a/1") == "a"
    assert found(routes, "/api/a/1/2") is None


def test_the_function_name_is_the_default_route() -> None:
    assert found(table(("unnamed", ""), prefix="v1"), "/v1/unnamed") == "unnamed"


def test_without_a_prefix_a_template_stands_alone() -> None:
    routes = table(("root", "/"), ("page", "a"), prefix="")
    assert found(routes, "/a") == "page"


@pytest.mark.parametrize("route", ["admin/x", "Administrators", "runtime", "/runtime/x"])
def test_what_the_host_reserves_is_refused(route: str) -> None:
    with pytest.raises(HostConfigurationError, match="Functions host reserves"):
        table(("f", route))


def test_one_template_twice_is_refused_if_a_method_is_shared() -> None:
    both = [http_function("b", "X/{id}", "GET", "PUT"), http_function("a", "/x/{ID}/", "PUT")]
    with pytest.raises(HostConfigurationError, match=r"a and b both have the route .* for PUT"):
        RouteTable(both, "api")
    RouteTable([http_function("a", "x", "GET"), http_function("b", "x", "PUT")], "api")


@pytest.mark.parametrize(
    "route", ["a/{x", "a/{x:int}", "a/{*x?}", "a//b", "{x}/{X}", "{*x}/a", "{x?}/a", "a*", "a?"]
)
def test_a_template_that_cannot_be_parsed_is_refused(route: str) -> None:
    with pytest.raises(HostConfigurationError, match="function f"):
        table(("f", route))


@pytest.mark.parametrize(
    ("first", "second", "is_hidden"),
    [
        ("{*path}", "a/b", True),
        ("a/{x}", "a/b", True),
        ("a/{x}", "A/{y}", True),
        ("a/{x?}", "a", True),
        ("a/{x?}", "a/{y?}", True),
        ("{*path}", "a/{*rest}", True),
        ("a/{x}", "a/{y?}", False),
        ("a/{x}", "a/{*rest}", False),
        ("a/b", "a/{x}", False),
        ("a/{x}", "a", False),
        ("a/{x}/c", "a/b", False),
    ],
)
def test_a_route_that_no_request_can_reach_is_found(
    first: str, second: str, *, is_hidden: bool
) -> None:
    routes = table(("a", first), ("b", second))
    found = [(route.function.name, [b.function.name for b in by]) for route, by in routes.hidden()]
    assert found == ([("b", ["a"])] if is_hidden else [])


def test_a_route_may_be_hidden_by_several_each_for_some_of_its_methods() -> None:
    first, second = http_function("a", "{x}", "GET"), http_function("b", "{y}", "PUT")
    hidden = http_function("c", "z", "GET", "PUT")
    assert len(list(RouteTable([first, second, hidden], "").hidden())) == 1
    assert not list(RouteTable([first, hidden], "").hidden())
