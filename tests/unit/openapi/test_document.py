"""The API document: current, consistent in itself, and with an example of everything."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from local.services import ROOT
from shared.api.contract import turns
from shared.api.document import EXAMPLES, document_file
from shared.config import AuthMode
from shared.http.sse import EventName
from shared.openapi import API_VERSION
from shared.openapi.document import api_document
from shared.problems import ProblemKind
from shared.routes import ROUTES
from tests.support.api_document import complaints, document, operations

COMMITTED = ROOT / "docs/openapi.json"
DECLARED = {route.operation.id: route.operation for route in ROUTES}
examples: dict[str, Any] = json.loads(EXAMPLES.read_text())


def test_the_committed_document_is_that_of_the_routes() -> None:
    assert COMMITTED.read_bytes() == document_file(ROUTES), "run `make openapi`"


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == API_VERSION


def test_ids_are_unique_and_fit_generated_clients() -> None:
    ids = [route.operation.id for route in ROUTES if route.operation.is_published]
    assert len(set(ids)) == len(ids)
    assert [each for each in ids if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", each)] == []


def test_links_lead_to_operations_that_take_what_they_give() -> None:
    for name, (_, _, operation) in operations().items():
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                _, path, _ = operations()[link["operationId"]]
                taken = set(re.findall(r"\{(\w+)\}", path))
                assert link["parameters"].keys() == taken, (name, link)


def media_types() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every media type of the document, and where it is."""
    for name, (_, _, operation) in operations().items():
        if "requestBody" in operation:
            for kind, each in operation["requestBody"]["content"].items():
                yield f"{name} {kind}", each
        for status, answer in operation["responses"].items():
            for kind, each in answer.get("content", {}).items():
                yield f"{name} {status} {kind}", each


def test_every_body_and_answer_has_an_example_that_fits() -> None:
    wrong: list[str] = []
    for where, each in media_types():
        shown = [v.get("value") for v in each["examples"].values()] if "examples" in each else []
        shown += [each["example"]] if "example" in each else []
        if not shown:
            wrong.append(f"{where} has no example")
        for value in shown:
            if value is not None:
                wrong += [f"{where}: {text}" for text in complaints(each["schema"], value)]
    for name, each in document()["components"]["examples"].items():
        problem = document()["components"]["schemas"]["Problem"]
        wrong += [f"{name}: {text}" for text in complaints(problem, each["value"])]
    assert wrong == []


WITH_BODY = [n for n, each in DECLARED.items() if each.body and each.is_published]


@pytest.mark.parametrize("name", WITH_BODY)
def test_the_example_of_a_body_is_read(name: str) -> None:
    body = DECLARED[name].body
    assert body is not None
    body.read(json.dumps(examples[name]["body"]).encode())


def test_no_example_is_left_over() -> None:
    assert examples.keys() <= DECLARED.keys()


def test_problems_are_a_closed_list() -> None:
    codes = document()["components"]["schemas"]["ProblemCode"]["enum"]
    assert set(codes) == {kind.code for kind in ProblemKind}
    declared = {kind for r in ROUTES for kind in r.operation.problem_kinds(is_open=r.is_open)}
    of_jobs = {k for k in ProblemKind if k.meaning.startswith("of a job only")}
    assert set(ProblemKind) - declared - of_jobs == {
        ProblemKind.METHOD_NOT_ALLOWED,
        ProblemKind.UNKNOWN_URL,
    }


def test_every_event_is_described() -> None:
    assert list(turns.SEND_MESSAGE.events) == list(EventName)


@pytest.mark.parametrize(
    ("mode", "schemes"),
    [
        (AuthMode.FUNCTION, {"functionKey", "functionKeyQuery", "clientKey"}),
        (AuthMode.ENTRA, {"entra"}),
        (AuthMode.BOTH, {"functionKey", "functionKeyQuery", "clientKey", "entra"}),
        (AuthMode.KEYS, {"clientKey"}),
        (AuthMode.ANONYMOUS, set()),
        (None, {"functionKey", "functionKeyQuery", "clientKey", "entra"}),
    ],
)
def test_an_app_documents_the_schemes_that_it_takes(
    mode: AuthMode | None, schemes: set[str]
) -> None:
    routes = [route for route in ROUTES if route.operation.id in {"getHealth", "listThreads"}]
    served = api_document(routes, {}, mode)
    assert served["components"]["securitySchemes"].keys() == schemes
    assert {name for each in served["security"] for name in each} == schemes
    assert served["paths"]["/api/health"]["get"]["security"] == []


def test_a_text_in_a_query_says_what_the_app_takes() -> None:
    texts = {
        (path, parameter["name"]): parameter["schema"]
        for path, methods in document()["paths"].items()
        for operation in methods.values()
        for parameter in operation.get("parameters", ())
        if parameter.get("in") == "query" and parameter["schema"].get("type") == "string"
    }
    assert ("/api/jobs", "thread_id") in texts
    for place, schema in texts.items():
        assert schema.keys() & {"enum", "format", "pattern"}, place
