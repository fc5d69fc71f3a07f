"""Declarations of the routes of jobs."""

from __future__ import annotations

from http import HTTPStatus

from ...http.operation import LOCATION, REPLAYED, Operation, Result, Tag, ok
from ...jobs.job_document import EndedDocument, JobDocument
from ...jobs.requests import SubmitJob
from ...problems import ProblemKind
from ..jobs import JobQuery, JobsPage, JobsQuery

SUBMIT_JOB = Operation(
    id="submitJob",
    tag=Tag.JOBS,
    summary="Submit a job",
    description=(
        "Accepts one or more messages, to be answered later. An accepted job ends in exactly one "
        "final state. Jobs of one thread run in the order in which they were accepted."
    ),
    body=SubmitJob,
    is_keyed=True,
    results={
        HTTPStatus.ACCEPTED: Result(
            meaning="The accepted job.",
            document=JobDocument,
            headers=(LOCATION, REPLAYED),
            links={"getJob": "job_id", "cancelJob": "job_id"},
        )
    },
    problems=(
        ProblemKind.NOT_FOUND,
        ProblemKind.BUDGET_SPENT,
        ProblemKind.BUDGET_TOO_SMALL,
        ProblemKind.BUDGET_RESERVED,
        ProblemKind.INVALID_CONTENT,
        ProblemKind.INVALID_RESPONSE_FORMAT,
        ProblemKind.CALLBACK_REFUSED,
    ),
    callback=EndedDocument,
)

LIST_JOBS = Operation(
    id="listJobs",
    tag=Tag.JOBS,
    summary="List your jobs",
    description="Newest first.",
    query=JobsQuery,
    results=ok("A page of jobs.", JobsPage),
)

GET_JOB = Operation(
    id="getJob",
    tag=Tag.JOBS,
    summary="Show a job",
    description="With `wait`, the answer is sent when the job ends, or after that many seconds.",
    query=JobQuery,
    results=ok("The job.", JobDocument),
    problems=(ProblemKind.NOT_FOUND,),
)

CANCEL_JOB = Operation(
    id="cancelJob",
    tag=Tag.JOBS,
    summary="Cancel a job",
    description="A waiting job ends at once, a running one before its next message.",
    is_keyed=True,
    results={
        HTTPStatus.ACCEPTED: Result(
            meaning="The job, which is cancelled or will be.",
            document=JobDocument,
            headers=(REPLAYED,),
            links={"getJob": "job_id"},
        )
    },
    problems=(ProblemKind.NOT_FOUND, ProblemKind.JOB_ENDED),
)
