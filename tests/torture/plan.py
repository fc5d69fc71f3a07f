"""What a run does: its sizes, and the jobs that follow from its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared.state.keys import Kind, new_id
from shared.state.threads import Thread

BATCH_SHARE = 0.1
"""Of the jobs, those that bring several messages."""

BATCH_MESSAGES = 3
ALONE_SHARE = 0.05
"""Of the jobs, those without a thread."""


@dataclass(frozen=True)
class Options:
    """The sizes of a run."""

    jobs: int = 10_000
    lanes: int = 300
    workers: int = 4
    kills: int = 40
    kills_until: float = 1.0
    """Share of the work after which nobody is killed any more."""
    fault_rate: float = 0.04
    intake_share: float = 0.1
    """Of the lanes, those whose jobs come in on the public queue instead of being submitted."""
    copies: int = 5
    """The most times that one wake-up is put."""
    skew: float = 120.0
    """Seconds by which the clocks of two workers differ at most."""
    lease: float = 60.0
    """Seconds of a lease: how long a killed worker's lane stands still."""
    seed: int = 1
    deadline: float = 3600.0
    """Seconds after which the run counts what has not ended as not terminal."""


@dataclass(frozen=True)
class PlannedJob:
    """One job, and what its user messages are; each text is unique in the run."""

    job_id: str
    messages: list[str]


@dataclass
class Lane:
    """Jobs of one owner, in the order in which they are to be submitted."""

    owner: str
    thread: Thread | None
    """None: each of the jobs is its own lane."""
    by_intake: bool
    jobs: list[PlannedJob] = field(default_factory=list[PlannedJob])

    @property
    def messages(self) -> int:
        """How many messages its jobs have together."""
        return sum(len(job.messages) for job in self.jobs)


def plan(options: Options) -> list[Lane]:
    """The work of a run."""
    chance = random.Random(options.seed)  # noqa: S311 - not for secrets
    lanes = [_lane(number, options, chance) for number in range(options.lanes)]
    alone = Lane("owner-alone", None, by_intake=False)
    for number in range(options.jobs):
        lane = alone if chance.random() < ALONE_SHARE else chance.choice(lanes)
        count = BATCH_MESSAGES if lane.thread and chance.random() < BATCH_SHARE else 1
        texts = [f"{lane.owner} job {number} message {n}" for n in range(count)]
        lane.jobs.append(PlannedJob(new_id(Kind.JOB), texts))
    return [*lanes, alone]


def _lane(number: int, options: Options, chance: random.Random) -> Lane:
    owner, now = f"owner-{number:04d}", datetime.now(UTC)
    thread = Thread(new_id(Kind.THREAD), owner, now, now)
    return Lane(owner, thread, by_intake=chance.random() < options.intake_share)
