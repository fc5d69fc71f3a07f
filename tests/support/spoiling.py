"""Jobs that no worker can make sense of."""

from __future__ import annotations

from shared.state.jobs import Job
from shared.state.keys import box_key, partition_key
from shared.state.table import Change, Operation

from .app_on_fakes import App


async def spoil(app: App, job: Job) -> None:
    """Make the work of a waiting job unreadable."""
    change = Change(Operation.MERGE, box_key(job.lane, job.sequence), {"work_0": b"{"})
    await app.table.write(partition_key(job.owner), [change])
