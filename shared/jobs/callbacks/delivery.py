"""Delivers the results of jobs: by a signed callback, on a reply queue, or both.

Delivery is at least once: an attempt whose response was lost is repeated with the same id. Attempts
are counted before they are made, up to `MAX_ATTEMPTS`. They run from a separate queue and with a
limit per host, so a slow receiver delays neither jobs nor other receivers.
"""

from __future__ import annotations

import json
import logging
import random
from dataclasses import replace
from datetime import timedelta

from ...state.content import CONTENT_RECORDED, drop_answers, held_answers
from ...state.errors import RowChangedError, RowMissingError, StorageUnavailableError
from ...state.jobs import Jobs
from ...state.lanes import Clock
from ...state.markers import Marker, Register, forget_marker, sweep_markers, unmark_delivery
from ...state.outbox import ATTEMPT_SECONDS, Delivery, DeliveryStatus, Outbox
from ...state.table import Table
from ...text import to_json_bytes
from ..job_document import ended_document
from ..queue import MAX_MESSAGE_BYTES, Notice, Queues
from ..sweep import MARK_GRACE
from .policy import CallbackPolicy
from .webhooks import Callback, CallbackError, Webhooks

log = logging.getLogger(__name__)

PAUSES_SECONDS = (5.0, 60.0, 300.0, 1_800.0, 7_200.0, 21_600.0, 50_400.0)
"""The pause after each failed attempt except the last; about a day in all."""

MAX_ATTEMPTS = len(PAUSES_SECONDS) + 1

MAX_PAUSE_SECONDS = 50_400.0
"""The longest pause that a receiver can request by `Retry-After`."""

BUSY_PAUSE_SECONDS = 5.0
STORAGE_PAUSE_SECONDS = ATTEMPT_SECONDS
"""After this, an attempt that was counted but not made is due again."""

OVERDUE_SECONDS = 60.0
"""A delivery that is overdue by this has lost its notice."""

LOOKS_AT_ONCE = 32


class Deliveries:
    """Makes delivery attempts that are due."""

    def __init__(
        self,
        table: Table,
        jobs: Jobs,
        queues: Queues,
        clock: Clock,
        *,
        callbacks: CallbackPolicy,
        webhooks: Webhooks,
    ) -> None:
        self._table = table
        self._outbox = Outbox(table, clock)
        self._jobs = jobs
        self._queues = queues
        self._clock = clock
        self._callbacks = callbacks
        self._webhooks = webhooks

    async def receive(self, body: bytes) -> None:
        """Process a message of the deliveries queue."""
        try:
            notice = Notice.parse(body)
        except ValueError:
            log.error("A message of %d bytes is not a notice and is dropped", len(body))  # noqa: TRY400
        else:
            await self.deliver(notice)

    async def receive_poison(self, body: bytes) -> None:
        """Fail the delivery of a notice that could not be processed."""
        try:
            notice = Notice.parse(body)
        except ValueError:
            log.error("A message of %d bytes is not a notice and is dropped", len(body))  # noqa: TRY400
            return
        delivery = await self._outbox.get(notice.owner, notice.job_id)
        if delivery is not None and delivery.is_pending:
            log.error("The result of job %s cannot be delivered", notice.job_id)
            await self._end(delivery, DeliveryStatus.FAILED, "an unexpected error in the app")

    async def deliver(self, notice: Notice) -> None:
        """Make an attempt, if one is due.

        Raises:
            StorageUnavailableError: if no later attempt could be scheduled.
        """
        pause = 0.0
        try:
            delivery = await self._outbox.get(notice.owner, notice.job_id)
            if delivery is not None and self._outbox.is_due(delivery):
                pause = await self._deliver(delivery)
        except (RowChangedError, RowMissingError):
            log.debug("Job %s was deleted, or another worker delivers it", notice.job_id)
        except StorageUnavailableError as error:
            log.warning("The delivery of job %s is postponed: %s", notice.job_id, error)
            pause = STORAGE_PAUSE_SECONDS
        if pause:
            await self._queues.notify(notice, pause)

    async def _deliver(self, delivery: Delivery) -> float:
        """Make an attempt; returns after how many seconds to try again, 0 for never."""
        url = delivery.callback_url
        if url is not None and self._webhooks.is_busy(url):
            return BUSY_PAUSE_SECONDS * random.uniform(1, 3)  # noqa: S311 - spreads the load
        if delivery.attempts >= MAX_ATTEMPTS:  # the worker died during the last one
            await self._end(delivery, DeliveryStatus.FAILED, "no attempt was answered")
            return 0.0
        delivery = await self._outbox.begin(delivery)
        replied = delivery.replied
        try:
            body = await self._body(delivery)
            if delivery.reply_queue is not None and not replied:
                await self._reply(delivery.reply_queue, body)
                replied = True
            if url is not None:
                await self._call(delivery, url, body)
        except RowMissingError:
            await self._outbox.drop(delivery)
        except CallbackError as error:
            return await self._failed(delivery, error, replied=replied)
        else:
            await self._end(delivery, DeliveryStatus.DELIVERED)
        return 0.0

    async def _body(self, delivery: Delivery) -> bytes:
        job = await self._jobs.get(delivery.owner, delivery.job_id)
        if any(result.get(CONTENT_RECORDED) is False for result in job.results):
            held = await held_answers(self._table, job.owner, job.job_id)
            results = (held.get(number, result) for number, result in enumerate(job.results))
            job = replace(job, results=tuple(results))
        return _encode(ended_document(job))

    async def _reply(self, queue: str, body: bytes) -> None:
        if reason := self._callbacks.refused_queue(queue):
            raise CallbackError(reason, is_final=True)
        if len(body) > MAX_MESSAGE_BYTES:
            body = _encode(_without_answers(body))
        try:
            await self._queues.reply(queue, body)
        except StorageUnavailableError as error:
            raise CallbackError(str(error)) from error

    async def _call(self, delivery: Delivery, url: str, body: bytes) -> None:
        if reason := self._callbacks.refused_url(url):
            raise CallbackError(reason, is_final=True)
        await self._webhooks.post(url, Callback(delivery.job_id, body), self._clock())

    async def _failed(self, delivery: Delivery, error: CallbackError, *, replied: bool) -> float:
        log.info("Delivery of job %s: attempt %d: %s", delivery.job_id, delivery.attempts, error)
        if error.is_final or delivery.attempts >= MAX_ATTEMPTS:
            await self._end(delivery, DeliveryStatus.FAILED, str(error))
            return 0.0
        pause = PAUSES_SECONDS[delivery.attempts - 1] * random.uniform(1, 1.2)  # noqa: S311
        pause = max(pause, min(error.retry_after, MAX_PAUSE_SECONDS))
        await self._outbox.postpone(delivery, pause, str(error), replied=replied)
        return pause

    async def _end(
        self, delivery: Delivery, status: DeliveryStatus, error: str | None = None
    ) -> None:
        held = await held_answers(self._table, delivery.owner, delivery.job_id)
        await self._outbox.finish(delivery, status, error, also=drop_answers(delivery.job_id, held))
        await unmark_delivery(self._table, delivery.owner, delivery.job_id)

    async def sweep(self) -> int:
        """Enqueue overdue deliveries again, whose worker died; returns how many."""
        notified = await sweep_markers(
            self._table, Register.DELIVERIES, self._look, at_once=LOOKS_AT_ONCE
        )
        if notified:
            log.info("The results of %d job(s) were not delivered in time", notified)
        return notified

    async def _look(self, marker: Marker) -> bool:
        delivery = await self._outbox.get(marker.owner, marker.lane)
        if delivery is None:
            if await self._is_over(marker):
                await forget_marker(self._table, marker)
            return False
        if not delivery.is_pending:
            await unmark_delivery(self._table, marker.owner, marker.lane)
            return False
        if delivery.next_at + timedelta(seconds=OVERDUE_SECONDS) > self._clock():
            return False
        await self._queues.notify(Notice(marker.owner, marker.lane))
        return True

    async def _is_over(self, marker: Marker) -> bool:
        """Whether a marked job without a delivery was never written, or has ended without one."""
        try:
            job = await self._jobs.get(marker.owner, marker.lane)
        except RowMissingError:
            return self._clock() - marker.marked_at >= MARK_GRACE
        return job.delivery is None and job.status.is_terminal


def _encode(document: dict[str, object]) -> bytes:
    return to_json_bytes(document)


def _without_answers(body: bytes) -> dict[str, object]:
    """The document without answers, to fit into a queue message; HTTP has the answers."""
    document = json.loads(body)
    document["data"] |= {"result": None, "results": [], "truncated": True}
    return document
