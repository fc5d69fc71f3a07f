"""`Prefer: respond-async`: a send that runs as a job, and may be waited for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from ..foundry.errors import InvalidRequestError
from ..foundry.structured import unfenced
from ..http.answers import Answer, Streamed
from ..http.idempotency import REPLAYED, keyed
from ..http.prefer import RESPOND_ASYNC, Preference
from ..http.request import Incoming
from ..jobs.job_document import job_document
from ..jobs.requests import SubmitJob
from ..problems import ProblemError, problem_from
from ..state.jobs import Job, JobStatus
from ..text import parse_json
from ..turns.documents import as_orchestration, as_turn
from ..turns.options import TurnOptions
from .jobs import JobsApi

SentDocument = Callable[[Job, dict[str, Any]], dict[str, Any]]
"""Makes the body that the send itself answers with, from a job and the answer in it."""


@dataclass(frozen=True, slots=True)
class DeferredSends:
    """Accepts sends as jobs."""

    jobs: JobsApi

    async def send(
        self,
        incoming: Incoming,
        body: TurnOptions,
        job: SubmitJob,
        preference: Preference,
        document: SentDocument,
    ) -> Answer | Streamed:
        """Submit the ``job`` of a send; its result as ``document`` if it ends within the wait.

        Raises:
            ProblemError: for an invalid option.
            The errors of `JobsApi.accept`.
        """
        with self.jobs.limits.waiting(incoming.owner, preference.wait):
            try:
                first = await self.jobs.accept(
                    keyed(incoming, body, RESPOND_ASYNC), job, incoming.caller
                )
            except InvalidRequestError as error:  # no turn has started, so none records it
                raise ProblemError(problem_from(error)) from error
            if not isinstance(first, Answer) or first.status != HTTPStatus.ACCEPTED:
                return first  # the stored answer of a key whose thread was deleted
            answer = first
            if preference.wait:
                answer = await self._awaited(incoming, first, preference.wait, document)
        return replace(answer, headers={**answer.headers, **preference.applied})

    async def _awaited(
        self, incoming: Incoming, first: Answer, seconds: int, document: SentDocument
    ) -> Answer:
        """The result of the accepted job, or its state if it has not ended after ``seconds``.

        A result that was too long to be stored whole stays in the job, which says so.
        """
        job_id = (first.body or {})["job_id"]
        job = await self.jobs.ended(incoming.owner, job_id, seconds)
        headers = {name: text for name, text in first.headers.items() if name in REPLAYED}
        if job.status is JobStatus.SUCCEEDED and not (answer := job.results[-1])["truncated"]:
            return Answer(document(job, answer), headers=headers)
        if job.status.is_terminal and job.problem and job.status is not JobStatus.SUCCEEDED:
            return _failed(job.problem, incoming.request_id, headers)
        return Answer(job_document(job), HTTPStatus.ACCEPTED, first.headers)


def _failed(problem: dict[str, Any], request_id: str, headers: dict[str, str]) -> Answer:
    """The problem of a job as the answer to the request that waited for it."""
    if (seconds := problem.get("retry_after")) is not None:
        headers = {**headers, "Retry-After": str(math.ceil(seconds))}
    return Answer({**problem, "request_id": request_id}, problem["status"], headers)


def sent_turn(body: TurnOptions) -> SentDocument:
    """Makes the body that `/messages` and `/threads` answer with."""

    def document(job: Job, answer: dict[str, Any]) -> dict[str, Any]:
        return as_turn(answer, job.thread_id, _parsed(body, answer))

    return document


def sent_orchestration(body: TurnOptions, conversation_id: str) -> SentDocument:
    """Makes the body that `/orchestrate` answers with."""

    def document(job: Job, answer: dict[str, Any]) -> dict[str, Any]:
        return as_orchestration(
            answer,
            job.thread_id,
            _parsed(body, answer),
            conversation_id=conversation_id,
            domain=body.domain,
            finished_at=job.finished_at or job.created_at,
        )

    return document


def _parsed(body: TurnOptions, answer: dict[str, Any]) -> Any:
    """The answer as JSON, if the request has a response format; the job has checked it."""
    content = answer["content"]
    return parse_json(unfenced(content)) if body.response_format and content else None
