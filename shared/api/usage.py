"""`GET /usage`: tokens and cost by day, model, department, client key..., as JSON or CSV."""

from __future__ import annotations

import csv
import io
import unicodedata
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ..config.spending import NANOS, PriceTable
from ..documents import Document
from ..http.answers import Answer
from ..http.field_errors import invalid_field
from ..http.query import Day, comma_separated
from ..http.request import Incoming
from ..metering.counts import Counts, Sums, View, add_to
from ..metering.reading import MetricsReader
from ..state.counters import Counter, Unit
from ..state.lanes import Clock
from .metrics import ScopeQuery, grouped, scope_of, times, total

CSV = "text/csv"
DEFAULT_DAYS = 30
MAX_DAYS = 366
DAY = "day"

BOM = "\ufeff"
"""Without it, Excel reads UTF-8 in the machine's code page."""

_STARTS_FORMULA = frozenset("=+-@\N{MINUS SIGN}")
"""Spreadsheets run a cell whose first visible character is one of these; some also accept the wide
and small forms of the signs."""

_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp", "Mn"})
"""Unicode categories of characters that are invisible at the start of a cell."""


class UsageDimension(StrEnum):
    """A dimension of usage, or the day."""

    OWNER = "owner"
    DEPARTMENT = "department"
    USER_ID = "user_id"
    DOMAIN = "domain"
    MODEL = "model"
    KEY = "key"
    FACE = "face"
    DAY = DAY


class UsageQuery(ScopeQuery):
    """The query of `GET /usage`."""

    first: Day | None = Field(default=None, alias="from")
    """First day, in UTC; at most 365 days before the last one, and by default 29."""

    last: Day | None = Field(default=None, alias="to")
    """Last day, in UTC; by default today."""

    by: Annotated[list[UsageDimension], comma_separated] = Field(default=[UsageDimension.DAY])
    """Dimensions to group by, separated by commas."""


class UsageSums(Document):
    """Usage and cost of turns; null where they are unknown."""

    requests: int
    failed_requests: int
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    total_tokens: int | None
    requests_of_unknown_usage: int
    cost: float | None
    requests_of_unknown_cost: int
    currency: str
    average_latency: float
    """Seconds from a turn's first request to Foundry to its end, as in `/metrics`."""
    p50_latency: float
    p95_latency: float
    p99_latency: float


class UsageGroup(UsageSums):
    """The usage of one group, with the names it is grouped by."""

    owner: NotRequired[str]
    department: NotRequired[str]
    user_id: NotRequired[str]
    domain: NotRequired[str]
    model: NotRequired[str]
    key: NotRequired[str]
    """The id of a client key; empty for callers without one."""
    face: NotRequired[str]
    """What was called: `api`, `openai`, `mcp` or `queue`."""
    day: NotRequired[str]


_Days = TypedDict("_Days", {"from": str, "to": str})


class UsageDocument(_Days, Document):
    """Usage over a range of days."""

    total: UsageSums
    groups: list[UsageGroup]


@dataclass(frozen=True, slots=True)
class UsageApi:
    """Handlers of `/usage`."""

    reader: MetricsReader
    prices: PriceTable
    clock: Clock

    async def show(self, incoming: Incoming) -> Answer:
        """Tokens and cost of a range of days, as JSON or CSV."""
        asked = incoming.parameters_as(UsageQuery)
        report = await self.report(incoming, asked)
        if CSV not in incoming.request.headers.get("accept", ""):
            return Answer(report)
        columns = [*asked.by, *usage_document(Counts(), self.prices.currency)]
        return Answer(None, content=_csv(columns, report["groups"]), media_type=CSV)

    async def report(self, incoming: Incoming, asked: UsageQuery) -> dict[str, Any]:
        """The document of a range of days, grouped by the dimensions in ``by``.

        Raises:
            ProblemError: 403 for sums over every owner, 422 for too many days.
        """
        scope, by = scope_of(incoming, asked), [dimension.value for dimension in asked.by]
        first, last = _days(asked, self.clock().date())
        days = await self.reader.by_day(scope, View.USAGE, first, last)
        currency = self.prices.currency
        groups = [
            {**dict(zip(by, key, strict=True)), **usage_document(counts, currency)}
            for key, counts in sorted(_by(days, by).items())
        ]
        everything = total({(str(day),): total(sums) for day, sums in days})
        period = {"from": first.isoformat(), "to": last.isoformat()}
        return {**period, "total": usage_document(everything, currency), "groups": groups}


def _by(days: list[tuple[date, Sums]], by: list[str]) -> Sums:
    """Group counts by dimensions, one of which may be the day; without any, one group."""
    groups: Sums = {}
    others = [name for name in by if name != DAY]
    for day, sums in days:
        parts = grouped(sums, View.USAGE, others) if others else {(): total(sums)}
        for part, counts in parts.items():
            names = {**dict(zip(others, part, strict=True)), DAY: day.isoformat()}
            add_to(groups, tuple(names[name] for name in by), counts)
    return groups


def usage_document(counts: Counts, currency: str) -> dict[str, Any]:
    """The usage, cost and latency of turns; null where usage or cost is unknown."""
    shown = {each.usage: _shown(counts, each) for each in counts.counters() if each.usage}
    latency = times("latency", counts.latency, counts.latency_micros)
    return {**shown, "currency": currency, **latency}


def _shown(counts: Counts, counter: Counter) -> float | None:
    """The value of a counter for callers; None if it is unknown."""
    value: int = getattr(counts, counter.name)
    match counter.unit:
        case Unit.TOKENS:
            is_known = counts.requests > counts.unknown_usage or counts.total_tokens > 0
        case Unit.MONEY:
            is_known = counts.requests > counts.unknown_cost or counts.cost > 0
        case _:
            return value
    if counts.requests and not is_known:
        return None
    return float(Decimal(value) / NANOS) if counter.unit is Unit.MONEY else value


def _csv(columns: list[str], groups: list[dict[str, Any]]) -> str:
    """A CSV table with one line per group, in which no text can be run as a formula."""
    target = io.StringIO()
    target.write(BOM)
    writer = csv.DictWriter(target, columns)
    writer.writeheader()
    for group in groups:
        writer.writerow({name: _cell(value) for name, value in group.items()})
    return target.getvalue()


def _cell(value: Any) -> Any:
    """Prefix a text that a spreadsheet would run with an apostrophe; numbers stay as they are."""
    return f"'{value}" if isinstance(value, str) and _would_run(value) else value


def _would_run(text: str) -> bool:
    """Whether a text starts with a tab, a line break or, after invisible characters, a formula."""
    if text.startswith(("\t", "\r", "\n")):
        return True
    for character in text:
        if unicodedata.category(character) not in _INVISIBLE:
            return unicodedata.normalize("NFKC", character)[:1] in _STARTS_FORMULA
    return False


def _days(asked: UsageQuery, today: date) -> tuple[date, date]:
    last = asked.last or today
    first = asked.first or last - timedelta(days=DEFAULT_DAYS - 1)
    if not timedelta() <= last - first < timedelta(days=MAX_DAYS):
        raise invalid_field("from", f"must be at most {MAX_DAYS - 1} days before to, and not after")
    return first, last
