"""The query of an address is read by the model that the address declares."""

from __future__ import annotations

from datetime import date

import pytest
from starlette.datastructures import QueryParams

from shared.api.audit import AuditRecordsQuery
from shared.api.jobs import JobsQuery
from shared.api.metrics import MetricsQuery, SeriesDimension
from shared.api.threads import ThreadsQuery
from shared.api.usage import UsageDimension
from shared.http.query import Query, read_query
from shared.metering.counts import View
from shared.problems import ProblemError
from shared.state.jobs import JobStatus


def test_values_are_read_as_their_types() -> None:
    jobs = read_query(JobsQuery, QueryParams("limit=5&status=queued&owner=key&code=a&code=b"))
    assert (jobs.limit, jobs.status, jobs.cursor) == (5, JobStatus.QUEUED, None)
    audit = read_query(AuditRecordsQuery, QueryParams("from=2026-01-02&all_owners=true"))
    assert (audit.first, audit.last, audit.all_owners) == (date(2026, 1, 2), None, True)
    metrics = read_query(MetricsQuery, QueryParams("by=model, mode"))
    assert metrics.by == [SeriesDimension.MODEL, SeriesDimension.MODE]
    threads = read_query(ThreadsQuery, QueryParams("metadata.a=1&metadata.b.c="))
    assert threads.metadata == {"a": "1", "b.c": ""}


@pytest.mark.parametrize(
    ("model", "query", "field"),
    [
        (JobsQuery, "limit=5.0", "limit"),
        (JobsQuery, "limit=1_0", "limit"),
        (JobsQuery, "limit=%EF%BC%91", "limit"),
        (JobsQuery, "limit=101", "limit"),
        (JobsQuery, "limit=1&limit=1", "limit"),
        (JobsQuery, "owner=key&owner=anonymous", "owner"),
        (JobsQuery, "status=QUEUED", "status"),
        (JobsQuery, "cursor=thread_01HZZZZZZZZZZZZZZZZZZZZZZZ", "cursor"),
        (AuditRecordsQuery, "from=20260102", "from"),
        (AuditRecordsQuery, "from=1767312000", "from"),
        (AuditRecordsQuery, "to=1999-12-31", "to"),
        (AuditRecordsQuery, "first=2026-01-02", "first"),
        (AuditRecordsQuery, "all_owners=1", "all_owners"),
        (MetricsQuery, "by=model,model", "by"),
        (MetricsQuery, "by=day", "by"),
        (ThreadsQuery, "metadata.=x", "metadata."),
        (ThreadsQuery, "metadata=x", "metadata"),
        (ThreadsQuery, f"metadata.k={'x' * 513}", "metadata.k"),
        (Query, "limit=1", "limit"),
    ],
)
def test_a_wrong_parameter_is_named(model: type[Query], query: str, field: str) -> None:
    with pytest.raises(ProblemError) as raised:
        read_query(model, QueryParams(query))
    assert raised.value.problem.status == 422
    assert [error.field for error in raised.value.problem.errors] == [field]


@pytest.mark.parametrize(("name", "text", "most"), [("n" * 201, "1", 200), ("n", "x" * 2049, 2048)])
def test_what_is_too_long_is_told_its_own_limit(name: str, text: str, most: int) -> None:
    with pytest.raises(ProblemError, match=f"{most} characters"):
        read_query(Query, QueryParams({name: text}))


def test_the_dimensions_of_queries_are_those_of_the_sums() -> None:
    assert tuple(SeriesDimension) == View.SERIES.dimensions
    assert tuple(UsageDimension) == (*View.USAGE.dimensions, "day")
