"""Markers say which lanes may have work."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from shared.state.errors import RowChangedError, StorageUnavailableError
from shared.state.keys import Kind, new_id
from shared.state.markers import (
    MARKER_PARTITIONS,
    SWEEP_SECONDS,
    Marker,
    Register,
    mark_lane,
    markers_of,
    sweep_markers,
    unmark,
)
from shared.state.table import Row
from tests.support.fakes import FakeClock, FakeTable
from tests.support.skipping_time import run_skipping

NOW = FakeClock().now


async def all_marked(table: FakeTable) -> list[Marker]:
    found = [await markers_of(table, Register.LANES, number) for number in range(MARKER_PARTITIONS)]
    return [marker for markers in found for marker in markers]


@pytest.mark.parametrize("owner", ["tid:oid", "key", "a/b\\c#d?", "漢字|x", "$lanes-1", "~"])
async def test_a_marked_lane_is_found(owner: str) -> None:
    table, lane = FakeTable(), new_id(Kind.THREAD)
    await mark_lane(table, owner, lane, NOW)
    (marker,) = await all_marked(table)
    assert (marker.owner, marker.lane, marker.marked_at) == (owner, lane, NOW)


async def test_marking_again_is_no_second_marker() -> None:
    table, lane = FakeTable(), new_id(Kind.JOB)
    for _ in range(3):
        await mark_lane(table, "o", lane, NOW)
    assert len(await all_marked(table)) == 1
    await mark_lane(table, "other owner", lane, NOW)
    assert len(await all_marked(table)) == 2


async def test_an_unmarked_lane_is_gone_and_may_be_marked_anew() -> None:
    table, lane = FakeTable(), new_id(Kind.JOB)
    await mark_lane(table, "o", lane, NOW)
    (marker,) = await all_marked(table)
    await unmark(table, marker)
    assert await all_marked(table) == []
    await unmark(table, marker)
    await mark_lane(table, "o", lane, NOW)
    assert len(await all_marked(table)) == 1


async def test_a_mark_that_is_newer_stays() -> None:
    table, lane = FakeTable(), new_id(Kind.JOB)
    await mark_lane(table, "o", lane, NOW)
    (marker,) = await all_marked(table)
    await mark_lane(table, "o", lane, NOW)
    with pytest.raises(RowChangedError):
        await unmark(table, marker)
    assert len(await all_marked(table)) == 1


async def test_lanes_spread_over_the_partitions() -> None:
    table = FakeTable()
    for _ in range(400):
        await mark_lane(table, "o", new_id(Kind.THREAD), NOW)
    sizes = [
        len(await markers_of(table, Register.LANES, number)) for number in range(MARKER_PARTITIONS)
    ]
    assert sum(sizes) == 400
    assert min(sizes) > 0


def busy() -> StorageUnavailableError:
    error = StorageUnavailableError("busy")
    error.is_refusal = True
    return error


class BusyTable(FakeTable):
    """A table whose every second scan is refused."""

    scans = 0

    async def scan(self, partition: str, after: str, before: str, **more: object) -> list[Row]:
        self.scans += 1
        if self.scans % 2:
            raise busy()
        return await super().scan(partition, after, before, **more)  # type: ignore[arg-type]


def test_a_sweep_tries_again_what_storage_refuses() -> None:
    table, looks = BusyTable(), Counter[str]()

    async def look(marker: Marker) -> bool:
        looks[marker.lane] += 1
        if looks[marker.lane] == 1:
            raise busy()
        return True

    async def sweep() -> int:
        for _ in range(40):
            await mark_lane(table, "o", new_id(Kind.JOB), NOW)
        return await sweep_markers(table, Register.LANES, look, at_once=32)

    assert run_skipping(sweep()) == 40
    assert set(looks.values()) == {2}


def test_a_sweep_leaves_to_the_next_one_what_storage_refuses_for_long() -> None:
    table, refused = FakeTable(), new_id(Kind.JOB)

    async def look(marker: Marker) -> bool:
        if marker.lane == refused:
            raise busy()
        return True

    async def sweep() -> tuple[int, float]:
        for lane in (refused, new_id(Kind.JOB)):
            await mark_lane(table, "o", lane, NOW)
        began = asyncio.get_running_loop().time()
        done = await sweep_markers(table, Register.LANES, look, at_once=1)
        return done, asyncio.get_running_loop().time() - began

    done, seconds = run_skipping(sweep())
    assert done == 1
    assert SWEEP_SECONDS < seconds < SWEEP_SECONDS + 5
