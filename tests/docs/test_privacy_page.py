"""The page on privacy names every kind of row, and retention has a rule for it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.config import AppSettings, SpendingSettings
from shared.state.keys import ROW_KINDS
from shared.state.markers import Register
from shared.threads.retention import RULES
from tests.support import census
from tests.support.app_on_fakes import App
from tests.support.calling import caller
from tests.support.waiting import eventually
from tests.unit.conftest import app

__all__ = ["app"]

HOUR = 3_600.0

PAGE = (Path(__file__).parents[2] / "docs/privacy.md").read_text()


def test_every_kind_of_row_has_a_rule() -> None:
    assert set(RULES) == {str(kind) for kind in ROW_KINDS}


def documented(table: str) -> list[str]:
    """The kinds of rows in the list of a table."""
    listed = PAGE.split(f"Table `{table}`")[1].split("Table `")[0]
    return sorted(re.findall(r"^\| `([$a-z]+):?` \|", listed, re.MULTILINE))


@pytest.mark.parametrize(
    ("table", "kinds"),
    [
        ("STATE_TABLE_NAME", [str(each) for each in ROW_KINDS]),
        ("AUDIT_TABLE_NAME", census.AUDIT_KINDS),
        ("METRICS_TABLE_NAME", census.METRICS_KINDS),
    ],
)
def test_every_kind_of_row_is_on_the_page(table: str, kinds: list[str]) -> None:
    assert documented(table) == sorted(kinds)


async def test_age_deletes_every_kind_of_row_but_those_that_the_page_says_stay(app: App) -> None:
    spending = SpendingSettings(budgets='[{"owner": "*", "tokens": 1000000, "per": "day"}]')
    app.settings = AppSettings(foundry=app.settings.foundry, spending=spending)
    services = app.services()
    async with caller(services) as api:
        assert (await api.post("messages", json={"message": "Hi"})).status_code == 200
        assert (await api.get("threads")).status_code == 200
        await eventually(lambda: len(app.audit_table.partitions) == 2)  # written in the background
    await services.core.meter.flush()
    app.clock.advance(3 * HOUR)
    await services.timers.roll_up.run()
    kinds = {
        "audit": (app.audit_table, census.audit_kind),
        "metrics": (app.metrics_table, census.metrics_kind),
    }

    def stored() -> dict[str, set[str | None]]:
        return {
            name: {kind_of(p, key) for p, rows in table.partitions.items() for key in rows}
            for name, (table, kind_of) in kinds.items()
        }

    before = stored()
    assert before["audit"] == set(census.AUDIT_KINDS)
    assert before["metrics"] == set(census.METRICS_KINDS)
    app.clock.advance(800 * 24 * HOUR)
    await services.timers.roll_up.run()
    await services.timers.delete_old_records()
    assert stored() == {"audit": set(), "metrics": set(census.LASTING_METRICS)}


@pytest.mark.parametrize("register", Register)
def test_every_register_is_on_the_page(register: Register) -> None:
    assert f"`${register}`" in PAGE


@pytest.mark.parametrize(
    ("kind_of", "partition", "row_key"),
    [
        (census.state_kind, "key", "novel:1"),
        (census.state_kind, "$odd", "1"),
        (census.audit_kind, "key!2026-03-01", "novel"),
        (census.audit_kind, "$odd", "0" * 26),
        (census.metrics_kind, "key!2026-03-01", "week|usage|09|1"),
        (census.metrics_kind, "key", "minute|usage|09:00|1"),
        (census.metrics_kind, "$odd", "1"),
    ],
)
def test_the_census_knows_a_row_of_no_kind(
    kind_of: Callable[[str, str], str | None], partition: str, row_key: str
) -> None:
    assert kind_of(partition, row_key) is None
