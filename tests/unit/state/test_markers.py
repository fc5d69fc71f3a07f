"""Markers say which lanes may have work."""

from __future__ import annotations

import pytest

from shared.state.errors import RowChangedError
from shared.state.keys import Kind, new_id
from shared.state.markers import MARKER_PARTITIONS, Marker, Register, mark_lane, markers_of, unmark
from tests.support.fakes import FakeClock, FakeTable

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
