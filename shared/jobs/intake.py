"""The intake queue, on which producers put jobs.

A message that is not a valid job is recorded with the reason and moved to the poison queue at once,
without five attempts. Then `receive_poison` processes it, like messages that failed five times: if
the message names a job id, that job is stored as failed.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from azure.functions import QueueMessage
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails
from ulid import ULID

from ..audit.trail import Action, AuditOutcome, AuditRecord, AuditTrail, Caller
from ..config import AppSettings
from ..foundry.errors import InvalidRequestError
from ..metering.budgets.limits import BudgetTooSmallError
from ..problems import INTERNAL_ERROR, Problem, ProblemError, ProblemKind, problem_from
from ..state.errors import StateError, StorageUnavailableError
from ..state.keys import Kind
from ..state.lanes import Clock
from ..state.owners import NO_OWNER, OwnerError, queue_owner
from ..state.rejected import REASON_CHARS, Rejected, record_rejected
from ..state.table import Table
from ..text import clean_json
from . import job_spans as spans
from .queue import Queues
from .requests import JOB_ID, OWNER, QueuedJob
from .submission import Submission

log = logging.getLogger(__name__)

QUEUE_FACE = "queue"
"""How usage and audit records name this way into the app, in place of a face's name."""


@dataclass(frozen=True, slots=True)
class IntakeMessage:
    """A message of the intake queue."""

    message_id: str
    inserted_at: datetime
    body: bytes

    @classmethod
    def of(cls, message: QueueMessage) -> IntakeMessage:
        """Convert a message of the Functions host."""
        inserted_at = message.insertion_time or datetime.now(UTC)
        return cls(message.id or str(ULID()), inserted_at, message.get_body())

    @property
    def ulid(self) -> ULID:
        """A ULID of the message; the same at every delivery."""
        milliseconds = int(self.inserted_at.timestamp() * 1000)
        random_part = hashlib.sha256(self.message_id.encode()).digest()[:10]
        return ULID.from_bytes(milliseconds.to_bytes(6) + random_part)

    @property
    def job_id(self) -> str:
        """The id of its job, if the producer gave none."""
        return f"{Kind.JOB}_{self.ulid}"


ACCEPTED_AT_ONCE = 8
"""Messages that are accepted concurrently. The host delivers many more, and a producer that floods
the queue must not slow down other requests."""


class Intake:
    """Turns queue messages into jobs."""

    def __init__(
        self,
        submission: Submission,
        table: Table,
        queues: Queues,
        audit: AuditTrail,
        *,
        clock: Clock,
        settings: AppSettings,
    ) -> None:
        self._submission = submission
        self._table = table
        self._queues = queues
        self._audit = audit
        self._clock = clock
        self._queue = settings.jobs.intake_queue
        self._access = settings.access
        self._record_content = settings.storage.record_content
        self._slots = asyncio.Semaphore(ACCEPTED_AT_ONCE)

    async def receive(self, message: IntakeMessage) -> None:
        """Accept the job in a message, or move the message to the poison queue.

        Raises:
            StorageUnavailableError: if neither could be done; the queue delivers it again.
        """
        try:
            job = QueuedJob.read(message.body)
            await self._accept(message, job, job.job_id or message.job_id)
        except StorageUnavailableError:
            raise
        except _REFUSALS as error:
            await self._reject(message, self._reason(error))

    async def receive_poison(self, message: IntakeMessage) -> None:
        """Process a message of the poison queue: try it once more, or store its job as failed.

        `receive` rejected the message, or failed too often unexpectedly. A message without a job id
        is only recorded, because another try might create a second job.

        Raises:
            StorageUnavailableError: if storage is unavailable; the queue delivers it again.
        """
        try:
            job = QueuedJob.read(message.body)
            if job.job_id is None:
                owner, caller = queue_owner(job.owner, self._access), self._producer(message)
                await self._submission.check(owner, job, caller)
                await self._note(message, _NAMELESS)
                return
            await self._accept(message, job, job.job_id)
        except StorageUnavailableError:
            raise
        except _REFUSALS as error:
            await self._fail(message, self._refusal(error))
        except Exception:  # the border: the message is not delivered again
            log.exception("Message %s cannot be processed", message.message_id)
            await self._note(message, INTERNAL_ERROR.detail)
            await self._fail(message, INTERNAL_ERROR)

    async def _accept(self, message: IntakeMessage, job: QueuedJob, job_id: str) -> None:
        owner = queue_owner(job.owner, self._access)
        with spans.reception(self._queue, job.traceparent):
            caller = self._producer(message)
            async with self._slots:
                await self._submission.submit(owner, job, job_id, caller=caller)

    async def _fail(self, message: IntakeMessage, problem: Problem) -> None:
        """Store the job that a message names as failed, unless it was accepted before."""
        try:
            named = _Named.model_validate_json(clean_json(message.body))
            owner = queue_owner(named.owner, self._access)
        except (ValidationError, OwnerError):
            return  # without a valid owner and job id, no job can be stored
        callbacks = {"callback_url": named.callback_url, "reply_queue": named.reply_queue}
        requested = {field: text for field, text in callbacks.items() if text}
        await self._submission.refuse(owner, named.job_id, problem, requested)

    def _producer(self, message: IntakeMessage) -> Caller:
        """The caller for records: a queue does not name its producer, so the message id is used."""
        return Caller("queue", self._queue, "queue", message.message_id, face=QUEUE_FACE)

    async def _reject(self, message: IntakeMessage, reason: str) -> None:
        reason = " ".join(reason[:REASON_CHARS].split())
        log.error("Message %s is not a valid job, moved to poison: %s", message.message_id, reason)
        await self._note(message, reason)
        await self._queues.reject(self._queue, message.body)
        caller = self._producer(message)
        self._audit.note_anonymous(
            AuditRecord(
                action=Action.JOB_SUBMIT,
                outcome=AuditOutcome.REFUSED,
                at=self._clock(),
                owner=NO_OWNER,
                subject=caller.subject,
                actor=caller.actor,
                how=caller.how,
                face=caller.face,
                request_id=caller.request_id,
            )
        )

    async def _note(self, message: IntakeMessage, reason: str) -> None:
        rejected = Rejected(
            message.ulid,
            self._queue,
            message.message_id,
            message.body,
            reason,
            self._clock(),
            owner=self._named_owner(message),
            record_content=self._record_content,
        )
        await record_rejected(self._table, rejected)

    def _named_owner(self, message: IntakeMessage) -> str | None:
        """The owner that a message names, if valid, so that erasing the owner finds the message."""
        try:
            named = _Owned.model_validate_json(clean_json(message.body))
            return queue_owner(named.owner, self._access)
        except (ValidationError, OwnerError):
            return None

    def _reason(self, error: Exception) -> str:
        """Why a message is refused; without quoting it if content is not recorded."""
        if not isinstance(error, ValidationError):
            if isinstance(error, OwnerError):
                return f"owner: {error}"
            problem = problem_from(error)
            return problem.detail if self._record_content else problem.code
        details = error.errors()
        if self._record_content:
            return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in details)
        return "; ".join(f"{_known_field(e)}: {e['type']}" for e in details)

    def _refusal(self, error: Exception) -> Problem:
        """The problem of a failed job whose message was refused."""
        if isinstance(error, BudgetTooSmallError):
            return problem_from(error)
        return Problem(ProblemKind.INVALID_REQUEST, self._reason(error))


_NAMELESS = "It failed too often and names no job_id, so it cannot safely be tried again."

_REFUSALS = (
    StateError,
    InvalidRequestError,
    ProblemError,
    BudgetTooSmallError,
    ValidationError,
    OwnerError,
)
"""The errors of messages that are not valid or not allowed jobs."""


def _known_field(error: ErrorDetails) -> str:
    """The name of an invalid field, but not of an unknown one, which the producer chose."""
    name = str(error["loc"][0]) if error["loc"] else "body"
    return name if name in QueuedJob.model_fields else "an unknown field"


class _Owned(BaseModel):
    """A message that names an owner."""

    owner: str = Field(pattern=OWNER)


class _Named(_Owned):
    """The fields of a message that a failed job needs; other fields are ignored."""

    job_id: str = Field(pattern=JOB_ID)
    callback_url: str | None = None
    reply_queue: str | None = None
