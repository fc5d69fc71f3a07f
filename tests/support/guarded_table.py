"""A table that refuses what must never be accepted, whoever writes it and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.state.jobs import JobStatus
from shared.state.keys import newest_first
from shared.state.table import Change, Operation

from .fakes import FakeTable

_RISING = ("lease_fence", "job_head", "job_tail", "messages_done")


class GuardedTable(FakeTable):
    """Checks every write that was accepted against the rows before it."""

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        seen = dict(self.partitions.get(partition, {}))
        etag = await super().write(partition, changes)
        before = {key: row.values for key, row in seen.items()}
        for change in changes:
            _check_row(before, change)
            if change.action is Operation.INSERT and change.row_key.startswith("turn:"):
                _check_commit(before, change)
        return etag


def _check_row(before: Mapping[str, Mapping[str, Any]], change: Change) -> None:
    """Numbers only rise, and a job that has ended stays as it is."""
    old = before.get(change.row_key, {})
    is_box = change.row_key.startswith("box:")
    for name in _RISING:
        if name in change.values and name in old:
            assert change.values[name] >= old[name], (change.row_key, name, is_box)  # pyright: ignore[reportOperatorIssue]
    if "status" in change.values and JobStatus(old.get("status", "queued")).is_terminal:
        raise AssertionError(f"{change.row_key} had ended and was changed to {change.values}")


def _check_commit(before: Mapping[str, Mapping[str, Any]], change: Change) -> None:
    """A turn is committed by the holder of its lane's lease, and nobody else."""
    _, thread_id, ulid = change.row_key.split(":")
    lane = str(change.values["job_id"]) if thread_id == "-" else thread_id
    holder = before[newest_first(lane)].get("lease_holder")
    assert holder == f"turn_{ulid}", f"a stale write: {change.row_key} while {holder} holds {lane}"
