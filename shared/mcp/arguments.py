"""The arguments that tools take beside those of the route that does the same."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..api.threads import MAX_WAIT_SECONDS
from ..http.idempotency import MAX_KEY_CHARS
from ..http.query import Query, whole_number
from ..turns.body import MAX_NAME_CHARS

LONGEST_JOB_WAIT_SECONDS = 30
"""Clients give a call without a stream up as early as after a minute."""

_Id = Annotated[str, Field(max_length=MAX_NAME_CHARS)]


class Acting(Query):
    """Of a tool that acts."""

    idempotency_key: Annotated[str, Field(min_length=1, max_length=MAX_KEY_CHARS)] | None = None
    """Any text, a new one for each action. A call that is repeated with it, because the answer was
    lost, has its effect once and gets the first answer again."""


class OnThread(Acting):
    """Of `ask_agent`."""

    thread_id: _Id | None = None
    """Thread to send on, whose history the agent knows. Left out, the message stands alone."""

    wait: Annotated[int, Field(ge=0, le=MAX_WAIT_SECONDS), whole_number] = 0
    """Seconds to wait for a thread on which another turn runs."""


class OfThread(Query):
    """Of `get_messages`."""

    thread_id: _Id
    """The thread."""


class OfJob(Query):
    """Of `get_job`."""

    job_id: _Id
    """The job."""

    wait: Annotated[int, Field(ge=0, le=LONGEST_JOB_WAIT_SECONDS), whole_number] = 0
    """Seconds to wait for the job's end."""


class OnJob(Acting):
    """Of `cancel_job`."""

    job_id: _Id
    """The job."""
