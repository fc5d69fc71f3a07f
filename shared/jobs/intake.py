"""The public queue on which any producer may put jobs.

A message that cannot be a job is put on the poison queue at once, with a note of the reason,
instead of being tried five times first. From there it comes back once more, as does what failed
five times: if it names its job, that job has failed.
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


@dataclass(frozen=True, slots=True)
class IntakeMessage:
    """A message as the queue delivered it."""

    message_id: str
    inserted_at: datetime
    body: bytes

    @classmethod
    def of(cls, message: QueueMessage) -> IntakeMessage:
        """Take over what the Functions host delivered."""
        inserted_at = message.insertion_time or datetime.now(UTC)
        return cls(message.id or str(ULID()), inserted_at, message.get_body())

    @property
    def ulid(self) -> ULID:
        """The same at every delivery."""
        milliseconds = int(self.inserted_at.timestamp() * 1000)
        random_part = hashlib.sha256(self.message_id.encode()).digest()[:10]
        return ULID.from_bytes(milliseconds.to_bytes(6) + random_part)

    @property
    def job_id(self) -> str:
        """The id of its job, for producers that give none."""
        return f"{Kind.JOB}_{self.ulid}"


ACCEPTED_AT_ONCE = 8
"""Messages turned into jobs at a time; the host hands over many more, and others want to be served
while a producer floods the queue."""


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
        """Accept the job in a message, or reject the message for good.

        Raises:
            StorageUnavailableError: if it could be neither; the queue delivers it again.
        """
        try:
            job = QueuedJob.read(message.body)
            await self._accept(message, job, job.job_id or message.job_id)
        except StorageUnavailableError:
            raise
        except _REFUSALS as error:
            await self._reject(message, self._reason(error))

    async def receive_poison(self, message: IntakeMessage) -> None:
        """End what a message on the poison queue asked for: its job fails, with the reason.

        The message was rejected here, or it failed too often for an unexpected reason. Then it
        is tried once more, if it names its job: under an id that is made for it here, it might
        become a second job.

        Raises:
            StorageUnavailableError: if storage is away; the queue delivers it again.
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
        except Exception:  # the border of a message: it is not delivered again
            log.exception("Message %s cannot be taken in", message.message_id)
            await self._note(message, INTERNAL_ERROR.detail)
            await self._fail(message, INTERNAL_ERROR)

    async def _accept(self, message: IntakeMessage, job: QueuedJob, job_id: str) -> None:
        owner = queue_owner(job.owner, self._access)
        with spans.reception(self._queue, job.traceparent):
            caller = self._producer(message)
            async with self._slots:
                await self._submission.submit(owner, job, job_id, caller=caller)

    async def _fail(self, message: IntakeMessage, problem: Problem) -> None:
        """Let the job that a message names be one that failed, unless it was accepted."""
        try:
            named = _Named.model_validate_json(clean_json(message.body))
            owner = queue_owner(named.owner, self._access)
        except (ValidationError, OwnerError):
            return  # no owner could read such a job
        callbacks = {"callback_url": named.callback_url, "reply_queue": named.reply_queue}
        asked = {field: text for field, text in callbacks.items() if text}
        await self._submission.refuse(owner, named.job_id, problem, asked)

    def _producer(self, message: IntakeMessage) -> Caller:
        """The producer of a message: a queue does not name it, so its message id does."""
        return Caller("queue", self._queue, "queue", message.message_id)

    async def _reject(self, message: IntakeMessage, reason: str) -> None:
        reason = " ".join(reason[:REASON_CHARS].split())
        log.error("Message %s is not a job and goes to poison: %s", message.message_id, reason)
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
        """The owner that a message names, if it is one whose data can be erased."""
        try:
            named = _Owned.model_validate_json(clean_json(message.body))
            return queue_owner(named.owner, self._access)
        except (ValidationError, OwnerError):
            return None

    def _reason(self, error: Exception) -> str:
        """Why a message is refused; where content is not recorded, without a word of it."""
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
        """Why the job of a message failed."""
        if isinstance(error, BudgetTooSmallError):
            return problem_from(error)
        return Problem(ProblemKind.INVALID_REQUEST, self._reason(error))


_NAMELESS = "It failed too often, and names no job_id under which it could be tried once more."

_REFUSALS = (
    StateError,
    InvalidRequestError,
    ProblemError,
    BudgetTooSmallError,
    ValidationError,
    OwnerError,
)
"""What a message that is not a job, or not one that may be, fails with."""


def _known_field(error: ErrorDetails) -> str:
    """The field that is wrong, by our name for it: an unknown one is named by the producer."""
    name = str(error["loc"][0]) if error["loc"] else "body"
    return name if name in QueuedJob.model_fields else "an unknown field"


class _Owned(BaseModel):
    """A message that names an owner."""

    owner: str = Field(pattern=OWNER)


class _Named(_Owned):
    """What a message must say for its job to be one that failed; the rest does not matter."""

    job_id: str = Field(pattern=JOB_ID)
    callback_url: str | None = None
    reply_queue: str | None = None
