"""Owners are erased whatever happens on the way, and what ran meanwhile is looked for again."""

from __future__ import annotations

import json
from datetime import timedelta

import httpx
import pytest
from ulid import ULID

from shared.app import Services
from shared.audit.trail import THE_APP
from shared.state.erasures import ERASURES_PARTITION, Erasure
from shared.state.errors import StorageUnavailableError
from shared.state.keys import turn_key
from shared.state.row_deletion import delete_rows
from shared.state.table import Change, Operation
from shared.threads.erasure import SETTLED
from tests.support.app_on_fakes import App
from tests.support.calling import caller

OWNER = "key"


async def add_turn(app: App, begun: timedelta) -> None:
    """A turn that is written now and was begun before."""
    values = {"created_at": app.clock() - begun, "responses": json.dumps(["resp_late"])}
    app.foundry.responses["resp_late"] = {"id": "resp_late"}
    change = Change(Operation.INSERT, turn_key(None, "turn_late"), values)
    await app.table.write(OWNER, [change])


def receipts(app: App) -> int:
    rows = [row for name in app.audit_table.partitions for row in app.audit_table.rows(name)]
    return sum(row.values.get("action") == "data_erased" for row in rows)


async def test_what_ran_when_an_owner_was_erased_goes_with_the_second_look(
    app: App, services: Services
) -> None:
    erasure = await services.timers.erasures.erase(OWNER, THE_APP)
    assert erasure.erased_at is not None
    app.clock.advance(60)
    await add_turn(app, begun=timedelta(minutes=2))
    await services.timers.erasures.sweep()
    assert len(app.table.rows(OWNER)) == 1
    app.clock.advance(SETTLED.total_seconds())
    await services.timers.erasures.sweep()
    assert app.table.rows(OWNER) == app.table.rows(ERASURES_PARTITION) == []
    assert app.foundry.responses == {}
    assert receipts(app) == 1


async def test_two_sweeps_at_once_continue_an_erasure_once(app: App, services: Services) -> None:
    await add_turn(app, begun=timedelta(minutes=1))
    begun = Erasure(f"erasure_{ULID()}", OWNER, app.clock(), THE_APP.to_json())
    await begun.begin(app.table)
    app.table.before_next_write(services.timers.erasures.sweep)
    await services.timers.erasures.sweep()
    assert app.table.rows(OWNER) == []
    assert receipts(app) == 1


async def test_what_came_after_an_erasure_stays_at_the_second_look(
    app: App, services: Services
) -> None:
    await services.timers.erasures.erase(OWNER, THE_APP)
    app.clock.advance(SETTLED.total_seconds())
    await add_turn(app, begun=timedelta(minutes=1))
    await services.timers.erasures.sweep()
    assert len(app.table.rows(OWNER)) == 1
    assert app.table.rows(ERASURES_PARTITION) == []


async def test_a_second_look_that_foundry_refuses_is_repeated_and_stops_no_other(
    app: App, services: Services
) -> None:
    await services.timers.erasures.erase(OWNER, THE_APP)
    await services.timers.erasures.erase("other", THE_APP)
    await add_turn(app, begun=timedelta(minutes=1))
    app.clock.advance(SETTLED.total_seconds())
    app.foundry.then(httpx.Response(403, json={"error": {"message": "no"}}), "/resp_late")
    await services.timers.erasures.sweep()
    assert [row.values["owner"] for row in app.table.rows(ERASURES_PARTITION)] == [OWNER]
    await services.timers.erasures.sweep()
    assert app.table.rows(ERASURES_PARTITION) == app.table.rows(OWNER) == []


@pytest.mark.parametrize("dies_at", range(1, 4))
async def test_an_erasure_that_died_goes_on(app: App, services: Services, dies_at: int) -> None:
    """Writes: the erasure is asked for, the turn goes, its row says so."""
    async with caller(services) as api:
        assert (await api.post("messages", json={"message": "Hi"})).status_code == 200
    for _ in range(dies_at - 1):
        app.table.before_next_write(_let_through)
    app.table.fail_next_write()
    if dies_at == 1:
        with pytest.raises(StorageUnavailableError):
            await services.timers.erasures.erase(OWNER, THE_APP)
        assert app.table.rows(OWNER) != []
        return
    await services.timers.erasures.erase(OWNER, THE_APP)
    await app.services().timers.erasures.sweep()
    assert [row.row_key[:6] for row in app.table.rows(OWNER)] == ["audit:"]
    (row,) = app.table.rows(ERASURES_PARTITION)
    assert row.values["erased_at"] is not None
    assert receipts(app) >= 1


async def _let_through() -> None:
    """Do nothing before a write."""


async def test_rows_go_though_another_worker_was_faster_with_one_of_them(app: App) -> None:
    changes = [Change(Operation.INSERT, f"turn:-:{number}", {}) for number in range(3)]
    await app.table.write(OWNER, changes)
    keys = [change.row_key for change in changes]
    await delete_rows(app.table, OWNER, [*keys, "turn:-:gone"])
    assert app.table.rows(OWNER) == []
