"""Responses in the background: jobs, and streams that follow any response to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from ..documents import JsonObject
from ..http.answers import Answer, Streamed
from ..http.idempotency import kept, keyed, once
from ..http.request import Incoming
from ..jobs.cancellation import Cancellation
from ..jobs.requests import ItemsJob, more_of, options_of
from ..jobs.submission import Submission
from ..state.errors import JobEndedError, StorageUnavailableError
from ..state.idempotency import Claim, IdempotencyKeys
from ..state.jobs import Job
from ..state.keys import Kind, new_id
from ..state.responses import StoredResponse
from ..state.table import Change
from ..turns.background import QUIET_SECONDS
from .asked import Ready
from .fields import ignored_header
from .joining import KEEP_ALIVE
from .response_events import Events, Pieces, again, begun_of, frame
from .response_wire import ResponseStatus, of_job, response_id_of
from .stored import Record, Stored, shown

log = logging.getLogger(__name__)

FOLLOW_SECONDS = 1_500.0
"""The longest time for which a stream waits for the end of a response."""
FIRST_LOOK_SECONDS = 0.25
MAX_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class BackgroundResponses:
    """Runs responses as jobs."""

    submission: Submission
    cancellation: Cancellation
    keys: IdempotencyKeys
    stored: Stored

    async def submit(self, incoming: Incoming, ready: Ready, record: Record) -> Answer | Streamed:
        """Accept the job of a response; with `stream`, answer with its events."""
        command, streams = ready.command, bool(record.form.body.stream)
        request = command.request
        job = ItemsJob(
            message=request.message,
            thread_id=command.thread_id,
            more=more_of(request),
            **options_of(ready.options),
        )
        owner, headers = incoming.owner, ignored_header(ready.ignored)

        def events(response: Mapping[str, Any]) -> AsyncIterator[bytes]:
            return self._events(owner, response["id"])

        async def act(claim: Claim | None) -> Answer | Streamed:
            job_id = claim.id(Kind.JOB) if claim else new_id(Kind.JOB)
            begun = record.begun(response_id_of(job_id), job_id=job_id)
            answer = Answer(shown(begun), headers=headers)

            def also(_: Job) -> list[Change]:
                return [*begun.changes(), *kept(claim, answer)]

            await self.submission.submit(owner, job, job_id, caller=incoming.caller, also=also)
            return Streamed(self.follow(owner, begun), headers) if streams else answer

        replay = events if streams else None
        request = keyed(incoming, record.form.body, replay=replay, joins=True)
        return await once(self.keys, request, act)

    async def _events(self, owner: str, response_id: str) -> AsyncIterator[bytes]:
        async for each in self.follow(owner, await self.stored.get(owner, response_id)):
            yield each

    async def follow(
        self, owner: str, stored: StoredResponse, after: int = -1
    ) -> AsyncIterator[bytes]:
        """The events of a response from a number on: the same that its own stream had.

        Those of the answer follow when it has ended, because another instance may run it.
        """
        sent = after
        for event in Events(begun_of(shown(stored))).begin():
            if event["sequence_number"] > sent:
                sent = event["sequence_number"]
                yield frame(event)
        until, pause, silent = monotonic() + FOLLOW_SECONDS, FIRST_LOOK_SECONDS, monotonic()
        while not has_ended(stored) and monotonic() < until:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, MAX_LOOK_SECONDS)
            if monotonic() - silent > QUIET_SECONDS:
                silent = monotonic()
                yield KEEP_ALIVE
            try:
                stored = await self.stored.get(owner, stored.response_id)
            except StorageUnavailableError as error:
                log.warning("Response %s is read again later: %s", stored.response_id, error)
        if not has_ended(stored):
            return
        response = shown(stored)
        pieces = Pieces.from_json(stored.document.get("pieces"))
        for event in again(begun_of(response), response, pieces):
            if event["sequence_number"] > sent:
                yield frame(event)

    async def cancel(
        self, incoming: Incoming, stored: StoredResponse, job_id: str
    ) -> Answer | Streamed:
        """Cancel the job of a response; one that has ended stays as it is."""
        response: JsonObject = dict(stored.document["response"])

        async def act(claim: Claim | None) -> Answer:
            def also(job: Job) -> list[Change]:
                return kept(claim, Answer(of_job(response, job)))

            try:
                job = await self.cancellation.cancel(incoming.owner, job_id, also)
            except JobEndedError:
                return Answer(response)
            return Answer(of_job(response, job))

        return await once(self.keys, keyed(incoming, None), act)


def has_ended(stored: StoredResponse) -> bool:
    """Whether a response has ended."""
    return ResponseStatus(stored.document["response"]["status"]).is_terminal
