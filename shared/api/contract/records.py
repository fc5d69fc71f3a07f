"""Declarations of the routes of metrics, usage, audit and erasure."""

from __future__ import annotations

from http import HTTPStatus

from ...http.operation import NEXT_PAGE, Operation, Result, Tag, ok
from ...problems import ProblemKind
from ...state.erasures import ErasureDocument
from ..audit import JSON_LINES, AuditRecordDocument, AuditRecordsPage, AuditRecordsQuery
from ..metrics import MetricsDocument, MetricsQuery
from ..usage import CSV, UsageDocument, UsageQuery

READ_METRICS = Operation(
    id="getMetrics",
    tag=Tag.USAGE,
    summary="Read metrics",
    description="Turns, failures, times and tokens of a time window; for admins, of all owners.",
    query=MetricsQuery,
    results=ok("The metrics.", MetricsDocument),
)

READ_USAGE = Operation(
    id="getUsage",
    tag=Tag.USAGE,
    summary="Read usage and cost",
    description="Tokens and cost of a range of days; with `Accept: text/csv`, as a table.",
    query=UsageQuery,
    results=ok("The usage.", UsageDocument, also={CSV: str}),
)

LIST_AUDIT_RECORDS = Operation(
    id="listAuditRecords",
    tag=Tag.AUDIT,
    summary="List the recorded actions of your owner",
    description="Newest first; with `Accept: application/x-ndjson`, as JSON lines.",
    query=AuditRecordsQuery,
    results=ok(
        "A page of records.",
        AuditRecordsPage,
        also={JSON_LINES: AuditRecordDocument},
        headers=(NEXT_PAGE,),
    ),
)

ERASE_MY_DATA = Operation(
    id="eraseMyData",
    tag=Tag.PRIVACY,
    summary="Erase all data of the caller",
    description="Erases everything of the caller, or of the owner that an admin names.",
    results={
        HTTPStatus.OK: Result(meaning="The receipt.", document=ErasureDocument),
        HTTPStatus.ACCEPTED: Result(
            meaning="A turn of the owner still runs, or rows are still being deleted.",
            document=ErasureDocument,
        ),
    },
    problems=(ProblemKind.STORAGE_CONTENTION,),
)
