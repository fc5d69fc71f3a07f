"""Declarations of the routes about the service itself."""

from __future__ import annotations

from http import HTTPStatus

from ...documents import JsonObject
from ...http.operation import ETAG, IF_NONE_MATCH, Operation, Result, Tag, ok
from ...problems import ProblemKind
from ..operations import HealthDocument, NotReadyDocument, ReadinessDocument

HEALTH = Operation(
    id="getHealth",
    tag=Tag.SERVICE,
    summary="Check that the app is alive",
    description="Needs no key, and checks no dependency.",
    results=ok("The app is alive.", HealthDocument),
)

READINESS = Operation(
    id="getReadiness",
    tag=Tag.SERVICE,
    summary="Check every dependency",
    description="Users see statuses only; operators also see latencies and what to fix.",
    results=ok("Every dependency works.", ReadinessDocument),
    problems=(ProblemKind.NOT_READY,),
    problem_documents={HTTPStatus.SERVICE_UNAVAILABLE: NotReadyDocument},
)

PROMETHEUS = Operation(
    id="getPrometheusMetrics",
    tag=Tag.SERVICE,
    summary="Read the metrics of all owners for Prometheus",
    description="For callers with a function key, and admins.",
    results=ok("OpenMetrics text.", also={"application/openmetrics-text": str}),
)

OPENAPI = Operation(
    id="getApiDocument",
    tag=Tag.SERVICE,
    summary="Read this document",
    description="Needs no key. Honours `If-None-Match`.",
    headers=(IF_NONE_MATCH,),
    results={
        HTTPStatus.OK: Result(meaning="The document.", document=JsonObject, headers=(ETAG,)),
        HTTPStatus.NOT_MODIFIED: Result(meaning="You have it.", headers=(ETAG,)),
    },
)

DOCS = Operation(
    id="getDocsPage",
    tag=Tag.SERVICE,
    summary="Show this document in a browser",
    description="Needs no key. Honours `If-None-Match`.",
    headers=(IF_NONE_MATCH,),
    results={
        HTTPStatus.OK: Result(meaning="The page.", also={"text/html": str}, headers=(ETAG,)),
        HTTPStatus.NOT_MODIFIED: Result(meaning="You have it.", headers=(ETAG,)),
    },
)

DOCS_FILE = Operation(
    id="getDocsFile", tag=Tag.SERVICE, summary="A file of the page", is_published=False
)
