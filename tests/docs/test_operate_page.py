"""Queries and alerts of the operations page name what the app emits, and are well formed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.jobs import job_spans
from shared.metering.counts import Counts, View
from shared.metering.prometheus import Fleet, exposition
from shared.observability import logs, tracing
from shared.observability.readiness import Check, Finding, Report
from shared.observability.traced_table import TABLE_STORAGE

PAGE = (Path(__file__).parents[2] / "docs" / "operate.md").read_text()
TRACES = PAGE.partition("## Traces and logs")[2].partition("## Health")[0]
QUERIES = re.findall(r"```kusto\n(.*?)```", PAGE, re.DOTALL)
PROMQL = re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL) + re.findall(
    r"^\|[^|]+\| `(.+?)` (?:or `(?:.+?)` )?\|", PAGE.partition("## Alerts")[2], re.MULTILINE
)

KEPT_ELSEWHERE = ("http.", "db.", "messaging.", "enduser.", "server.", "url.", "error.")
"""Application Insights keeps these in columns of its own or not at all."""


def _emitted() -> set[str]:
    """The names of all attributes that spans and log records may have."""
    constants = (value for name, value in vars(tracing).items() if name.isupper())
    return {value for value in constants if isinstance(value, str)} | {*logs.LOG_IDS}


@pytest.mark.parametrize("query", QUERIES)
def test_kql_asks_for_properties_that_exist(query: str) -> None:
    asked = set(re.findall(r"Properties\['([^']+)'\]", query))
    assert asked <= _emitted()
    assert not [name for name in asked if name.startswith(KEPT_ELSEWHERE)]
    for opening, closing in ("()", "[]", "{}"):
        assert query.count(opening) == query.count(closing)
    assert query.count("'") % 2 == 0


def test_kql_tells_spans_apart_by_what_they_are() -> None:
    operations = set(re.findall(r"operation.name'\]\) == '(\w+)'", " ".join(QUERIES)))
    assert operations == {"invoke_agent", "chat", "execute_tool"}


def test_the_page_names_attributes_that_exist() -> None:
    named = set(re.findall(r"`((?:aos|gen_ai|azure|enduser)\.[a-z_.]+)`", TRACES))
    assert named
    assert named <= _emitted()


def test_every_attribute_of_our_own_is_on_the_page() -> None:
    own = {name for name in _emitted() if name.startswith("aos.")}
    assert {name for name in own if f"`{name}`" not in PAGE and f"'{name}'" not in PAGE} == set()


def _told() -> set[str]:
    """The names of all samples that a scrape may give, and of their labels."""
    counts = Counts(failures={"timeout": 1})
    series = {("d", "m", "a", "sync", "api"): counts}
    usage = {("o", "dep", "u", "d", "m", "k", "api"): counts}
    found = Finding(measurements={"oldest_seconds": {"q": 1.0}, "messages": {"q": 1}})
    report = Report({"queues": Check(found, 0.1)}, 0.0)
    fleet = Fleet(
        datetime(2026, 1, 1, tzinfo=UTC),
        series,
        usage,
        {("waits",): Counts(requests=1)},
        "EUR",
        report,
    )
    text, _ = exposition(fleet)
    samples = [line.partition("{") for line in text.splitlines() if line[0] != "#"]
    labels = {name for _, _, rest in samples for name in re.findall(r'(\w+)="', rest)}
    assert set(View.SERIES.dimensions) <= labels
    return {name for name, _, _ in samples} | labels


@pytest.mark.parametrize("expression", PROMQL)
def test_promql_asks_for_metrics_and_labels_that_exist(expression: str) -> None:
    told = _told()
    assert set(re.findall(r"aos_\w+", expression)) <= told
    for group in re.findall(r"by \(([^)]*)\)", expression):
        assert {label.strip() for label in group.split(",")} <= told
    assert expression.count("(") == expression.count(")")


def test_every_metric_is_on_the_page() -> None:
    suffix = re.compile(r"_(bucket|count|sum|created)$")
    names = {suffix.sub("", name) for name in _told() if name.startswith("aos_")}
    names -= {name.removesuffix("_total") for name in names if name.endswith("_total")}
    table = PAGE.partition("| metric |")[2].partition("\n\n")[0]
    assert {name for name in names if f"`{name}`" not in table} == set()


def test_own_names_of_systems_are_not_claimed_by_the_conventions() -> None:
    from opentelemetry.semconv._incubating.attributes import db_attributes, messaging_attributes

    systems = {value.value for value in db_attributes.DbSystemNameValues}
    brokers = {value.value for value in messaging_attributes.MessagingSystemValues}
    assert TABLE_STORAGE not in systems
    assert job_spans.QUEUE_STORAGE not in brokers
