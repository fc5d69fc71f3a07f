"""Accepts jobs from HTTP and from the intake queue.

A job is accepted when its rows are written, in one transaction. The wake-up afterwards only makes
it start sooner.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from ..audit.trail import THE_APP, Action, AuditOutcome, AuditRecord, Caller
from ..observability.tracing import carried
from ..problems import Problem
from ..state.contention import Contention
from ..state.conversation_ids import ConversationIds
from ..state.errors import RowExistsError, RowMissingError, StorageUnavailableError
from ..state.jobs import Job, Jobs, JobStatus
from ..state.keys import Kind, new_id
from ..state.lanes import Clock
from ..state.mailbox import MORE, NEW_THREAD, ORCHESTRATED, STOPS_LANE, Work
from ..state.outbox import DeliveryStatus, outbox_insert
from ..state.table import Change, Row, Value
from ..state.threads import Thread, Threads
from ..turns.options import OptionLimits, TurnOptions
from ..turns.recording import Recording
from . import job_spans as spans
from .callbacks.policy import CallbackPolicy
from .queue import Notice, Queues
from .requests import DEFAULT_MAX_ATTEMPTS, ConversationJob, ItemsJob, SubmitJob

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobStorage:
    """Where jobs, their threads and their callers' conversations are stored."""

    jobs: Jobs
    threads: Threads
    conversation_ids: ConversationIds


@dataclass(frozen=True, slots=True)
class Rules:
    """The options and callbacks that the settings allow."""

    options: OptionLimits
    callbacks: CallbackPolicy


class Submission:
    """Accepts jobs."""

    def __init__(
        self,
        storage: JobStorage,
        queues: Queues,
        clock: Clock,
        rules: Rules,
        recording: Recording,
    ) -> None:
        self._jobs = storage.jobs
        self._threads = storage.threads
        self._conversation_ids = storage.conversation_ids
        self._queues = queues
        self._clock = clock
        self._limits = rules.options
        self._callbacks = rules.callbacks
        self._audit = recording.audit
        self._admission = recording.admission

    async def submit(
        self,
        owner: str,
        body: SubmitJob,
        job_id: str | None = None,
        *,
        caller: Caller = THE_APP,
        also: Callable[[Job], Sequence[Change]] = lambda _: (),
    ) -> Job:
        """Accept a job, in one transaction with the changes of ``also``; then it will run.

        Raises:
            ProblemError: for an invalid option, or a callback or reply queue that is not allowed.
            BudgetTooSmallError: for a message that may need more than a whole budget.
            InvalidRequestError: for a response format that is not a schema.
            RowMissingError: if the owner has no such thread.
            LimitError: if a conversation needs a new thread, and the owner started too many.
            DocumentTooLargeError: if the messages do not fit into a row.
            StorageUnavailableError: if the job could not be stored.
        """
        callbacks = await self.check(owner, body, caller)
        contention = Contention("the conversation")
        while True:
            job, new_thread = await self._job(owner, body, job_id)
            if callbacks:
                await self._jobs.mark_for_delivery(job)
            with spans.submission(job.job_id):
                work = Work(work_document(body, caller), _at_end(body, callbacks))
                try:
                    return await self._accept(job, work, new_thread, also(job), caller)
                except RowMissingError as error:  # the conversation's thread was deleted meanwhile
                    if not isinstance(body, ConversationJob):
                        raise
                    await contention.pause(error)

    async def _job(
        self, owner: str, body: SubmitJob, job_id: str | None
    ) -> tuple[Job, Thread | None]:
        """The job that a request describes, and its thread if that does not exist yet."""
        thread_id, new_thread, now = body.thread_id, None, self._clock()
        if isinstance(body, ConversationJob):
            thread_id = await self._conversation_ids.thread_id(owner, body.conversation_id)
        elif body.starts_thread:
            new_thread = self._new_thread(owner, body)
            thread_id = new_thread.thread_id
        job = Job(
            job_id=job_id or new_id(Kind.JOB),
            owner=owner,
            status=JobStatus.QUEUED,
            created_at=now,
            thread_id=thread_id,
            messages_total=len(body.texts),
            not_before=body.not_before,
            expires_at=now + timedelta(seconds=body.expires_in) if body.expires_in else None,
            metadata=body.metadata,
        )
        return job, new_thread

    async def _accept(
        self,
        job: Job,
        work: Work,
        new_thread: Thread | None,
        also: Sequence[Change],
        caller: Caller,
    ) -> Job:
        """Store a job and wake a worker; a job that was accepted before is returned as it is."""
        await self._audit.open_day(job.owner, job.created_at)
        audited = self._audit.inserts(self._audit.keyed([self._audited(job, caller)]))
        try:
            await self._jobs.submit(job, work, new_thread, [*also, *audited])
        except RowExistsError:
            job = await self._jobs.get(job.owner, job.job_id)
        await self._wake(job)
        return job

    async def check(self, owner: str, body: SubmitJob, caller: Caller) -> dict[str, str]:
        """Check that a job can be accepted; returns its callbacks.

        Raises:
            The errors of `submit`, except those of storing the job.
        """
        self._limits.check(body, caller.terms)
        request = body.request("")  # invalid requests are refused now, not when the job runs
        callbacks = self._callbacks.requested(body)
        thread = await self._known_thread(owner, body)
        for text in body.texts:
            self._admission.check(owner, replace(request, message=text), thread, caller)
        if request.response_format:
            request.response_format.ready()
        return callbacks

    async def _known_thread(self, owner: str, body: SubmitJob) -> Row | None:
        """The row of the job's thread; None if it will be created."""
        if isinstance(body, ConversationJob):
            return await self._conversation_ids.find(owner, body.conversation_id)
        if body.thread_id is None:
            return None
        return await self._threads.check(owner, body.thread_id)

    async def refuse(
        self, owner: str, job_id: str, problem: Problem, callbacks: Mapping[str, str]
    ) -> None:
        """Store a job that cannot be accepted as failed, and enqueue the delivery of its result.

        Callbacks that are not allowed are left out. A job that was accepted before is not changed.
        """
        now = self._clock()
        job = Job(job_id, owner, JobStatus.FAILED, now, finished_at=now, problem=problem.to_json())
        notice: list[Change] = []
        if allowed := self._callbacks.allowed(callbacks):
            job = replace(job, delivery=DeliveryStatus.PENDING.value)
            await self._jobs.mark_for_delivery(job)
            notice.append(outbox_insert(job_id, allowed, now))
        try:
            await self._jobs.add_ended(job, notice)
        except RowExistsError:
            return
        if notice:
            await self._queues.notify(Notice(owner, job_id))

    async def _wake(self, job: Job) -> None:
        """Wake a worker when the job may start; without the queue, the sweeper does it later."""
        try:
            await self._queues.wake(job.owner, job.lane, self._seconds_until_start(job))
        except StorageUnavailableError as error:
            log.warning("Job %s starts later, by the sweeper: %s", job.job_id, error)

    def _seconds_until_start(self, job: Job) -> float:
        if job.not_before is None:
            return 0.0
        return max((job.not_before - self._clock()).total_seconds(), 0.0)

    def _audited(self, job: Job, caller: Caller) -> AuditRecord:
        return AuditRecord(
            action=Action.JOB_SUBMIT,
            outcome=AuditOutcome.SUCCEEDED,
            at=job.created_at,
            owner=job.owner,
            subject=caller.subject,
            actor=caller.actor,
            how=caller.how,
            face=caller.face,
            request_id=caller.request_id,
            thread_id=job.thread_id,
            job_id=job.job_id,
        )

    def _new_thread(self, owner: str, body: SubmitJob) -> Thread:
        """A thread that is created in Foundry when its first message is sent."""
        now = self._clock()
        return Thread(new_id(Kind.THREAD), owner, now, now, metadata=body.metadata)


def work_document(body: SubmitJob, caller: Caller = THE_APP) -> dict[str, Any]:
    """The work of a job for its box row: messages, options, caller and trace context."""
    options = body.model_dump(include=set(TurnOptions.model_fields), exclude_defaults=True)
    document: dict[str, Any] = {"messages": body.texts, "options": options}
    if caller != THE_APP:
        document["caller"] = caller.to_json()
    if body.asks_any_model:
        document[ORCHESTRATED] = True
    if body.starts_thread:
        document[NEW_THREAD] = True
    if isinstance(body, ItemsJob):
        document[MORE] = body.more
    if body.max_attempts != DEFAULT_MAX_ATTEMPTS:
        document["max_attempts"] = body.max_attempts
    if trace := carried():
        document[spans.TRACE] = trace
    return document


def _at_end(body: SubmitJob, callbacks: Mapping[str, str]) -> dict[str, Value]:
    stops: dict[str, Value] = {STOPS_LANE: True} if body.stop_lane_on_failure else {}
    return {**stops, **callbacks}
