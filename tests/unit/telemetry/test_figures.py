"""Counts: adding in any order comes to the same, and percentiles are within a bucket."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shared.metering.counts import BOUNDS, TURN_VIEWS, Counts, Histogram
from shared.state.table import Operation, Row
from shared.state.turns import (
    FIGURES,
    Attribution,
    TurnEffort,
    TurnMode,
    TurnRecord,
    TurnStatus,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS = st.floats(0, 5_000, allow_nan=False)
COUNT = st.integers(0, 10**6)
TURNS = st.builds(
    TurnRecord,
    turn_id=st.just("turn_01K00000000000000000000000"),
    owner=st.just("tid:oid"),
    thread_id=st.none(),
    job_id=st.none(),
    mode=st.sampled_from(TurnMode),
    status=st.sampled_from(TurnStatus),
    created_at=st.just(NOON),
    latency=SECONDS,
    domain=st.sampled_from(["general", "law"]),
    model=st.sampled_from(["a", "b"]),
    agent_id=st.none(),
    error_code=st.sampled_from([None, "timeout", "rate_limited"]),
    usage=st.dictionaries(
        st.sampled_from(["input_tokens", "output_tokens", "total_tokens", "cached_tokens"]), COUNT
    ),
    effort=st.builds(
        TurnEffort,
        overhead=SECONDS,
        tool_calls=st.integers(0, 5),
        retries=st.integers(0, 5),
        unreported=st.integers(0, 2),
        cost=st.none() | COUNT,
    ),
    attribution=st.builds(Attribution, st.none() | st.just("finance"), st.none() | st.just("u")),
)


@given(st.lists(SECONDS, min_size=1), st.floats(0, 1))
def test_a_percentile_is_in_the_bucket_of_the_exact_one(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]
    found = histogram.percentile(share)
    if exact > BOUNDS[-1]:
        assert found == BOUNDS[-1]
    else:
        lower = max((bound for bound in BOUNDS if bound < found), default=0.0)
        assert lower <= exact <= found


def test_buckets_are_at_most_a_fifth_wide() -> None:
    assert all(1 < upper / lower < 1.2 for lower, upper in pairwise(BOUNDS))
    assert Histogram().percentile(0.5) == 0


def added(turns: list[TurnRecord]) -> Counts:
    figures = Counts()
    for turn in turns:
        figures.add(turn)
    return figures


def comparable(figures: Counts) -> dict[str, object]:
    return {**figures.to_values()}


@given(st.lists(TURNS), st.integers(0, 100), st.randoms(use_true_random=False))
def test_the_parts_add_up_to_the_whole(turns: list[TurnRecord], cut: int, random: object) -> None:
    whole = comparable(added(turns))
    shuffled = list(turns)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    parts = added(shuffled[cut:])
    parts.merge(added(shuffled[:cut]))
    assert comparable(parts) == whole
    assert comparable(Counts.from_values(parts.to_values())) == whole


@given(TURNS)
def test_a_turns_row_tells_all_that_figures_need(turn: TurnRecord) -> None:
    change = turn.insert()
    assert change.action is Operation.INSERT
    kept = {n: v for n, v in change.values.items() if n in FIGURES and v is not None}
    again = TurnRecord.from_row(turn.owner, Row(change.row_key, "", kept))
    assert comparable(added([again])) == comparable(added([turn]))
    assert [view.key(again) for view in TURN_VIEWS] == [view.key(turn) for view in TURN_VIEWS]


def test_what_is_unknown_is_not_counted_as_nothing() -> None:
    turn = TurnRecord(
        turn_id="turn_01K00000000000000000000000",
        owner="o",
        thread_id=None,
        job_id=None,
        mode=TurnMode.SYNC,
        status=TurnStatus.SUCCEEDED,
        created_at=NOON,
        latency=1,
        domain="general",
        model="m",
    )
    lost = replace(turn, effort=TurnEffort(unreported=1, cost=None))
    free = replace(turn, effort=TurnEffort(cost=0))
    figures = added([turn, lost, free])
    assert (figures.unknown_usage, figures.unknown_cost, figures.cost) == (1, 2, 0)
