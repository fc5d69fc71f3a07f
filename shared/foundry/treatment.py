"""What a failure means for those who could try again: the client, a breaker, a router, a job.

    treatment     client repeats  job repeats   breaker counts  another model may answer
    MISTAKE       never           never         no              no
    SETUP         never           never         no              no
    BUSY          as settings say as it says    no              no
    RATE_LIMIT    as settings say as it says    no              yes
    OUTAGE        as settings say as it says    yes             yes
    INTERRUPTED   never           as it says    yes             no
    SPENT         never           never         yes             yes
    UNREADABLE    never           once          yes             yes
    UNKNOWN       once            never         yes             yes

Each class of `errors` has one of these; nothing else decides on repetition.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

AS_ALLOWED = sys.maxsize
"""As often as settings, or the job, allow."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """One row of the table."""

    name: str
    repeats: int = 0
    """How often the client may send the request again, at most."""
    job_repeats: int = 0
    """How often a job may try its message again, at most."""
    counts: bool = False
    """A breaker counts it: it says that the service does not work."""
    moves: bool = False
    """Another model may answer in its place."""


MISTAKE = Treatment("mistake")
"""The request cannot succeed as it is: its sender is told why, and no other feels it."""

SETUP = Treatment("setup")
"""A setting, role, key or name is wrong: only an operator can help."""

BUSY = Treatment("busy", repeats=AS_ALLOWED, job_repeats=AS_ALLOWED)
"""Another turn holds the conversation; the service works."""

RATE_LIMIT = Treatment("rate_limit", repeats=AS_ALLOWED, job_repeats=AS_ALLOWED, moves=True)
"""The deployment's gate is paused for all requests; the service works, so no breaker counts it."""

OUTAGE = Treatment("outage", repeats=AS_ALLOWED, job_repeats=AS_ALLOWED, counts=True, moves=True)
"""The service failed or cannot be reached, which may pass."""

INTERRUPTED = Treatment("interrupted", job_repeats=AS_ALLOWED, counts=True)
"""An outage after a part of the answer was delivered: nothing may follow that part."""

SPENT = Treatment("spent", counts=True, moves=True)
"""The account has no credit left: waiting does not help, but another model may answer."""

UNREADABLE = Treatment("unreadable", job_repeats=1, counts=True, moves=True)
"""What came is no answer, such as a proxy's page: the model may have run, so it is not asked again
at once."""

UNKNOWN = Treatment("unknown", repeats=1, counts=True, moves=True)
"""The service gives no reason that is known: an outage once, then final."""
