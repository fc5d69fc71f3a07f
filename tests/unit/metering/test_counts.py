"""Counts: adding in any order comes to the same, and percentiles are within a bucket."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from shared.api.metrics import metrics_document
from shared.api.usage import usage_document
from shared.config.spending import NANOS
from shared.metering.counts import BOUNDS, TURN_VIEWS, Counts, Histogram
from shared.metering.prometheus import Fleet, exposition
from shared.observability.readiness import Report
from shared.state.counters import Counter, TurnEvents, Unit, counter, counters_of
from shared.state.table import Operation, Row
from shared.state.turns import (
    COUNTED,
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
    attribution=st.builds(
        Attribution, *[st.none() | st.just(text) for text in ("finance", "u", "key-1", "mcp")]
    ),
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
    counts = Counts()
    for turn in turns:
        counts.add(turn)
    return counts


def comparable(counts: Counts) -> dict[str, object]:
    return {**counts.to_values()}


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
    kept = {n: v for n, v in change.values.items() if n in COUNTED and v is not None}
    again = TurnRecord.from_row(turn.owner, Row(change.row_key, "", kept))
    assert comparable(added([again])) == comparable(added([turn]))
    assert [view.key(again) for view in TURN_VIEWS] == [view.key(turn) for view in TURN_VIEWS]


COUNTED_TURN = TurnRecord(
    turn_id="turn_01K00000000000000000000000",
    owner="tid:oid",
    thread_id=None,
    job_id=None,
    mode=TurnMode.SYNC,
    status=TurnStatus.SUCCEEDED,
    created_at=NOON,
    latency=1.5,
    domain="law",
    model="m",
    usage={"input_tokens": 11, "output_tokens": 12, "total_tokens": 23, "cached_tokens": 7},
    effort=TurnEffort(
        overhead=0.5,
        tool_calls=3,
        unreported=1,
        cost=4 * NANOS,
        **{each.name: number for number, each in enumerate(counters_of(TurnEvents), start=5)},
    ),
)
"""A turn that adds to every counter but those of failed turns and folded labels."""

PAGE = (Path(__file__).parents[3] / "docs" / "operate.md").read_text()
COUNTERS = pytest.mark.parametrize("counter", Counts.counters(), ids=lambda each: each.name)


@COUNTERS
def test_a_counter_goes_through_rows_and_sums(counter: Counter) -> None:
    change = COUNTED_TURN.insert()
    kept = {n: v for n, v in change.values.items() if n in COUNTED and v is not None}
    turn = TurnRecord.from_row(COUNTED_TURN.owner, Row(change.row_key, "", kept))
    counts = Counts.from_values(added([turn]).to_values())
    counts.merge(added([turn]))
    assert getattr(counts, counter.name) == 2 * counter.read(COUNTED_TURN)
    assert counter.read(COUNTED_TURN) or counter.name in {"failed", "folded_labels"}


@COUNTERS
def test_a_counter_is_in_the_documents_that_it_names(counter: Counter) -> None:
    counts, amount = added([COUNTED_TURN]), counter.read(COUNTED_TURN)
    if counter.unit is Unit.MONEY:
        amount /= NANOS
    if counter.metrics:
        assert metrics_document(counts)[counter.metrics] == amount
    if counter.usage:
        assert usage_document(counts, "EUR")[counter.usage] == amount
    if counter.prometheus:
        assert amount in samples(counts, counter)


def samples(counts: Counts, counter: Counter) -> list[float]:
    """What Prometheus reads of a counter."""
    fleet = Fleet(
        since=NOON,
        series={("law", "m", "", "sync", "api"): counts},
        usage={("tid:oid", "", "", "law", "m"): counts},
        refusals={},
        currency="EUR",
        report=Report({}, 0.0),
    )
    (family,) = (
        family
        for family in text_string_to_metric_families(exposition(fleet)[0])
        if family.name == counter.prometheus
    )
    assert counter.kind or family.documentation == f"{counter.meaning}."
    return [
        sample.value
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels.get("kind", "") == counter.kind
    ]


@COUNTERS
def test_a_counter_is_on_the_page_with_its_unit(counter: Counter) -> None:
    metrics = PAGE.partition("## Metrics\n")[2].partition("\n###")[0]
    usage = PAGE.partition("## Usage and cost\n")[2].partition("\n###")[0]
    if counter.metrics:
        assert row_of(metrics, counter.metrics)[1] == counter.unit
    if counter.usage:
        assert row_of(usage, counter.usage)
    if counter.prometheus:
        assert f"`{counter.prometheus}_total`" in PAGE


def row_of(text: str, name: str) -> list[str]:
    """The cells of the one row whose first cell names something."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:1] == "|"]
    (row,) = (row for row in rows if f"`{name}`" in row[0])
    return row


@dataclass(slots=True)
class MoreCounts(Counts):
    questions: int = counter(
        "Turns with a question", Unit.TURNS, lambda _: 1, metrics="questions", usage="questions"
    )


def test_one_declaration_adds_a_counter() -> None:
    counts = MoreCounts()
    counts.add(COUNTED_TURN)
    counts.merge(MoreCounts.from_values(counts.to_values()))
    assert counts.questions == 2
    assert metrics_document(counts)["questions"] == 2
    assert usage_document(counts, "EUR")["questions"] == 2


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
    counts = added([turn, lost, free])
    assert (counts.unknown_usage, counts.unknown_cost, counts.cost) == (1, 2, 0)
