"""The public queue on which any producer may put jobs.

A message that cannot be a job is put on the poison queue at once, with a note of the reason,
instead of being tried five times first.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from azure.functions import QueueMessage
from pydantic import ValidationError
from ulid import ULID

from ..config import AppSettings
from ..contract import QueuedJob
from ..foundry.errors import InvalidRequestError
from ..problems import ProblemError, problem_from
from ..state.errors import StateError, StorageUnavailableError
from ..state.keys import Kind
from ..state.lanes import Clock
from ..state.owners import NOBODY, queue_owner
from ..state.rejected import record_rejected
from ..state.table import Table
from ..telemetry.audit import Action, AuditRecord, AuditTrail, Caller, Outcome
from . import spans
from .queue import Queues
from .submission import Submission

log = logging.getLogger(__name__)

MAX_REASON_CHARS = 1_000
"""A message can name thousands of fields that nobody knows, of any name."""


@dataclass(frozen=True, slots=True)
class InletMessage:
    """A message as the queue delivered it."""

    message_id: str
    inserted_at: datetime
    body: bytes

    @classmethod
    def of(cls, message: QueueMessage) -> InletMessage:
        """Take over what the Functions host delivered."""
        inserted_at = message.insertion_time or datetime.now(UTC)
        return cls(message.id or str(ULID()), inserted_at, message.get_body())

    @property
    def job_id(self) -> str:
        """The same id at every delivery, for producers that give none."""
        milliseconds = int(self.inserted_at.timestamp() * 1000)
        random_part = hashlib.sha256(self.message_id.encode()).digest()[:10]
        return f"{Kind.JOB}_{ULID.from_bytes(milliseconds.to_bytes(6) + random_part)}"


class Inlet:
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
        self._queue = settings.jobs.inlet_queue
        self._access = settings.access

    async def receive(self, message: InletMessage) -> None:
        """Accept the job in a message, or reject the message for good.

        Raises:
            StorageUnavailableError: if it could be neither; the queue delivers it again.
        """
        try:
            job = QueuedJob.model_validate_json(message.body)
            owner = queue_owner(job.owner, self._access)
            caller = self._producer(message)
            job_id = job.job_id or message.job_id
            with spans.reception(self._queue, job.traceparent):
                await self._submission.submit(owner, job, job_id, caller=caller)
        except ValidationError as error:
            reasons = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            await self._reject(message, "; ".join(reasons))
        except StorageUnavailableError:
            raise
        except (StateError, InvalidRequestError, ProblemError) as error:
            await self._reject(message, problem_from(error).detail)
        except ValueError as error:
            await self._reject(message, f"owner: {error}")

    def _producer(self, message: InletMessage) -> Caller:
        """Who put a message: a queue does not say, so the message stands for its producer."""
        return Caller("queue", self._queue, "queue", message.message_id)

    async def _reject(self, message: InletMessage, reason: str) -> None:
        reason = " ".join(reason[:MAX_REASON_CHARS].split())
        log.error("Message %s is not a job and goes to poison: %s", message.message_id, reason)
        await record_rejected(
            self._table,
            queue=self._queue,
            message_id=message.message_id,
            body=message.body.decode(errors="replace"),
            reason=reason,
            at=self._clock(),
        )
        await self._queues.reject(self._queue, message.body)
        caller = self._producer(message)
        self._audit.note_stranger(
            AuditRecord(
                action=Action.JOB_SUBMIT,
                outcome=Outcome.REFUSED,
                at=self._clock(),
                owner=NOBODY,
                subject=caller.subject,
                actor=caller.actor,
                how=caller.how,
                request_id=caller.request_id,
            )
        )
