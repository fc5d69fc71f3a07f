"""The audit trail: what is in it, what it costs, how it is read and how it ends."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from shared.app import Services
from shared.audit.reading import AuditQuery, AuditReader, CursorError
from shared.audit.trail import (
    ANONYMOUS_PER_MINUTE,
    Action,
    AuditOutcome,
    AuditRecord,
    AuditTrail,
    Caller,
    turn_records,
)
from shared.foundry.errors import InvalidRequestError
from shared.foundry.models import FinishReason, ToolCall, TurnRequest, TurnResult
from shared.foundry.responses import arguments_hash, tool_calls
from shared.state.days import DAYS_PARTITION
from shared.state.errors import (
    LeaseLostError,
    RowExistsError,
    StateError,
    StorageUnavailableError,
)
from shared.state.keys import Kind, new_id, partition_key
from shared.state.table import Change
from shared.state.threads import Thread
from shared.state.turns import TurnMode, TurnRecord, TurnStatus
from shared.turns.pipeline import AnsweredTurn, TurnCommand
from tests.support.app_on_fakes import OWNER, App
from tests.support.fakes import FakeTable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CALLER = Caller("subject", "actor", "entra", "req_1")
SECRET = "the text of the message"
WEEK = AuditQuery(OWNER, date(2026, 2, 23), date(2026, 3, 1))


def record(at: datetime = NOON, owner: str = OWNER, **more: Any) -> AuditRecord:
    known: dict[str, Any] = {
        "action": Action.THREAD_READ,
        "outcome": AuditOutcome.SUCCEEDED,
        "subject": "s",
        "actor": "a",
        "how": "entra",
    }
    return AuditRecord(at=at, owner=owner, **{**known, **more})


def rows(table: FakeTable, owner: str = OWNER, day: str = "2026-03-01") -> list[dict[str, Any]]:
    """The records in the audit table."""
    return [dict(row.values) for row in table.rows(f"{partition_key(owner)}!{day}")]


def committed(app: App) -> list[dict[str, Any]]:
    """The records in the owner's partition of the state table."""
    return [dict(row.values) for row in app.table.rows(partition_key(OWNER), "audit:2026-03-01:")]


async def ask(services: Services, thread_id: str | None = None) -> None:
    command = TurnCommand(OWNER, TurnRequest(SECRET), 60, thread_id, caller=CALLER)
    await services.core.turns.run(command)


async def new_thread(app: App, services: Services) -> str:
    now, thread_id = app.clock(), new_id(Kind.THREAD)
    await services.core.threads.add(Thread(thread_id, OWNER, now, now))
    return thread_id


async def test_a_turn_says_who_what_how_and_how_much_but_not_its_text(
    app: App, services: Services
) -> None:
    await ask(services)
    (kept,) = committed(app)
    (turn,) = app.table.rows(partition_key(OWNER), "turn:")
    assert kept["turn_id"] == "turn_" + turn.row_key.rpartition(":")[2]
    assert {name: kept[name] for name in ("action", "outcome", "owner", "subject", "actor")} == {
        "action": "send",
        "outcome": "succeeded",
        "owner": OWNER,
        "subject": "subject",
        "actor": "actor",
    }
    assert (kept["how"], kept["request_id"], kept["at"]) == ("entra", "req_1", app.clock())
    assert (kept["response_id"], kept["total_tokens"]) == (turn.values["response_id"], 5)
    assert kept["latency"] >= 0
    assert SECRET not in str(kept)


async def test_a_streamed_turn_is_on_record_once(app: App, services: Services) -> None:
    command = TurnCommand(OWNER, TurnRequest(SECRET), 60, mode=TurnMode.STREAM, caller=CALLER)
    *_, turn = [progress async for progress in services.core.turns.stream(command)]
    assert isinstance(turn, AnsweredTurn)
    (kept,) = committed(app)
    assert (kept["turn_id"], kept["subject"]) == (turn.turn_id, "subject")
    assert kept["outcome"] == "succeeded"


async def test_a_failed_turn_is_on_record_as_failed(app: App, services: Services) -> None:
    app.foundry.then_fail(400)
    with pytest.raises(InvalidRequestError):
        await ask(services)
    (kept,) = committed(app)
    assert (kept["outcome"], kept["code"]) == ("failed", "invalid_request")


@pytest.mark.parametrize("on_a_thread", [False, True])
async def test_the_record_is_part_of_the_turns_transaction(
    app: App, services: Services, on_a_thread: bool
) -> None:
    thread_id = await new_thread(app, services) if on_a_thread else None
    await ask(services, thread_id)  # the day of this owner is known from here on
    app.table.reset_counts()
    app.audit_table.reset_counts()
    await ask(services, thread_id)
    assert app.table.transactions == (2 if on_a_thread else 1)
    assert app.audit_table.transactions == 0
    assert len(committed(app)) == 2


async def test_an_index_that_cannot_be_written_loses_no_turn_and_is_logged(
    app: App, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    app.audit_table.available = False
    await ask(services)
    assert [kept["outcome"] for kept in committed(app)] == ["succeeded"]
    assert caplog.records[-1].levelno == logging.ERROR
    assert OWNER in caplog.records[-1].getMessage()
    app.audit_table.available = True
    await ask(services)
    assert len(app.audit_table.rows(DAYS_PARTITION)) == 1


async def test_a_record_that_cannot_be_written_is_logged_whole(
    app: App, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    app.table.available = False
    with pytest.raises(StorageUnavailableError):
        await ask(services)
    complaint = caplog.records[-1]
    assert complaint.levelno == logging.ERROR
    logged = json.loads(complaint.getMessage().partition("): ")[2])
    assert (logged["action"], logged["owner"]) == ("send", OWNER)
    assert (logged["outcome"], logged["code"]) == ("failed", "storage_unavailable")
    assert SECRET not in caplog.text


async def test_a_turn_that_lost_its_lease_was_sent_and_is_on_record(
    app: App, services: Services
) -> None:
    thread_id = await new_thread(app, services)
    other = app.services()

    async def take_over() -> None:
        app.clock.advance(3600)
        await ask(other, thread_id)

    app.table.before_next_write(lambda: asyncio.sleep(0))  # the lease
    app.table.before_next_write(take_over)
    with pytest.raises(LeaseLostError):
        await ask(services, thread_id)
    sent = [row for row in committed(app) if row["action"] == "send"]
    assert sorted((row["outcome"], row.get("code")) for row in sent) == [
        ("failed", "lease_lost"),
        ("succeeded", None),
    ]


async def test_a_turn_whose_commit_failed_is_not_on_record_as_done(
    app: App, services: Services
) -> None:
    thread_id = await new_thread(app, services)

    async def refuse() -> None:
        raise StorageUnavailableError("It never arrived.")

    app.table.before_next_write(lambda: asyncio.sleep(0))  # the lease
    app.table.before_next_write(refuse)
    with pytest.raises(StorageUnavailableError):
        await ask(services, thread_id)
    (row,) = [row for row in committed(app) if row["action"] == "send"]
    assert (row["outcome"], row["code"]) == ("failed", "storage_unavailable")


async def test_a_turn_that_was_stored_although_its_commit_seemed_to_fail_is_on_record_as_done(
    app: App, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    app.table.lose_next_answer()
    with pytest.raises(StorageUnavailableError):
        await ask(services)
    assert [row["outcome"] for row in committed(app)] == ["succeeded"]
    assert "Not in the audit trail" not in caplog.text


async def test_a_commit_that_arrives_after_its_failure_is_on_record_stores_nothing(
    app: App, services: Services
) -> None:
    late: list[Callable[[], Awaitable[str]]] = []
    write = app.table.write

    async def hold_back(partition: str, changes: Sequence[Change]) -> str:
        if not late:
            late.append(partial(write, partition, changes))
            raise StorageUnavailableError("It has not arrived yet.")
        return await write(partition, changes)

    app.table.write = hold_back
    with pytest.raises(StorageUnavailableError):
        await ask(services)
    with pytest.raises(RowExistsError):
        await late[0]()
    assert app.table.rows(partition_key(OWNER), "turn:") == []
    assert [row["outcome"] for row in committed(app)] == ["failed"]


def turn_record(**more: Any) -> TurnRecord:
    known = TurnRecord(
        turn_id="turn_1",
        owner=OWNER,
        thread_id=None,
        job_id=None,
        mode=TurnMode.SYNC,
        status=TurnStatus.SUCCEEDED,
        created_at=NOON,
        latency=0.5,
        domain="general",
        model="m",
    )
    return replace(known, **more)


async def test_tool_calls_are_records_of_their_own() -> None:
    items: list[dict[str, Any]] = [
        {"type": "function_call", "name": "weather", "arguments": '{"city": "Oslo", "unit": "c"}'},
        {"type": "mcp_call", "name": "search", "arguments": {"q": "x"}},
        {"type": "file_search_call", "queries": ["a"]},
        {"type": "web_search_call"},
        {"type": "message"},
    ]
    calls = tool_calls(items)
    assert [call.tool for call in calls] == ["weather", "search", "file_search", "web_search"]
    assert calls[0].arguments_hash == arguments_hash({"unit": "c", "city": "Oslo"})
    assert calls[3].arguments_hash is None
    trail = AuditTrail(FakeTable(), FakeTable(), "the-agents-identity")
    inserts = trail.inserts(trail.keyed(turn_records(turn_record(), CALLER, calls)))
    kept = [insert.values for insert in inserts]
    assert {row["agent_identity"] for row in kept} == {"the-agents-identity"}
    assert sorted(str(row["tool"]) for row in kept if row["action"] == "tool_call") == sorted(
        call.tool for call in calls
    )
    assert "Oslo" not in str(kept)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_turn_with_hundreds_of_tool_calls_is_on_record(
    app: App, services: Services, fails: bool
) -> None:
    calls = (ToolCall("t", None),) * 250
    result = TurnResult("done", FinishReason.STOP, "resp_1", "m", tool_calls=calls)
    written: list[Change] = []

    async def write(audit: Sequence[Change]) -> None:
        if fails:
            raise LeaseLostError("Another worker has the thread.")
        written.extend(audit)

    recording, outcome = services.core.turns._recording, "failed" if fails else "succeeded"
    with suppress(LeaseLostError):
        await recording.commit(write, turn_record(), result, CALLER)
    kept = [dict(each.values) for each in written] + committed(app)
    assert len(kept) == 251
    assert {row["outcome"] for row in kept} == {outcome}


async def filled(table: FakeTable) -> AuditReader:
    """A week of records: ten a day, of two owners, every second one beside its turn."""
    state = FakeTable()
    trail = AuditTrail(table, state, None)
    for day in range(7):
        for number in range(10):
            at = NOON - timedelta(days=day, minutes=number)
            action = Action.SEND if number % 2 else Action.JOB_READ
            for owner in (OWNER, "somebody"):
                one = record(at, owner, action=action, job_id=f"j{day}")
                if action is Action.SEND:
                    await trail.open_day(owner, at)
                    await trail.insert(trail.keyed([one]))
                else:
                    await trail.append(one)
    return AuditReader(table, state)


@pytest.mark.parametrize("limit", [1, 7, 10, 50, 1000])
async def test_pages_go_back_in_time_without_gap_or_repetition(limit: int) -> None:
    reader = await filled(FakeTable())
    read: list[AuditRecord] = []
    cursor: str | None = None
    while True:
        page = await reader.page(WEEK, limit, cursor)
        read += page.records
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(read) == 70
    assert all(newer.at > older.at for newer, older in pairwise(read))
    assert {each.owner for each in read} == {OWNER}


async def test_filters_and_days_choose() -> None:
    reader = await filled(FakeTable())
    sends = replace(WEEK, where=(("action", "send"),))
    assert len((await reader.page(sends, 1000)).records) == 35
    first_two = replace(WEEK, last=date(2026, 2, 24))
    assert len((await reader.page(first_two, 1000)).records) == 20
    injected = replace(WEEK, where=(("job_id", "' or PartitionKey ne '"),))
    assert (await reader.page(injected, 1000)).records == ()


@pytest.mark.parametrize("limit", [1, 15, 1000])
async def test_an_admin_reads_across_owners_by_day(limit: int) -> None:
    reader = await filled(FakeTable())
    everybody = replace(WEEK, owner=None)
    read: list[AuditRecord] = []
    cursor: str | None = None
    while True:
        page = await reader.page(everybody, limit, cursor)
        read += page.records
        if (cursor := page.next_cursor) is None:
            break
    assert len(read) == len({(each.owner, each.at) for each in read}) == 140
    assert [each.at.date() for each in read] == sorted(
        (each.at.date() for each in read), reverse=True
    )


async def test_a_cursor_leads_nowhere_but_on() -> None:
    reader = await filled(FakeTable())
    theirs = (await reader.page(replace(WEEK, owner="somebody"), 1)).next_cursor
    row_key = "Z" * 26
    forged = [f"2026-03-01!{row_key}!somebody", f"2026-01-01!{row_key}!tid:oid", "x", "a!b!c"]
    for cursor in (
        theirs,
        "\u00e9",
        "====",
        *(base64.b64encode(f.encode()).decode() for f in forged),
    ):
        with pytest.raises(CursorError):
            await reader.page(WEEK, 10, cursor)


async def test_old_records_go_day_by_day_and_stopping_half_way_does_no_harm() -> None:
    table = FakeTable()
    reader = await filled(table)
    assert await reader.days.remove_before(date(2026, 2, 1)) == 0
    table.before_next_write(_fail)
    with pytest.raises(StateError):
        await reader.days.remove_before(date(2026, 2, 27))
    assert await reader.days.remove_before(date(2026, 2, 27)) == 4 * 2 * 5
    assert {row.row_key[:10] for row in table.rows(DAYS_PARTITION)} == {
        "2026-02-27",
        "2026-02-28",
        "2026-03-01",
    }
    left = await reader.page(replace(WEEK, where=(("action", "job_read"),)), 1000)
    assert min(each.at for each in left.records).date() == date(2026, 2, 27)


async def _fail() -> None:
    raise StateError("stopped")


async def test_the_app_keeps_records_for_as_long_as_the_setting_says(
    app: App, services: Services
) -> None:
    now = app.clock()
    days = app.settings.retention.audit_days
    trail = services.core.audit
    for age in (days, days + 1):
        await trail.append(record(now - timedelta(days=age)))
        await trail.insert(trail.keyed([record(now - timedelta(days=age))]))
    await services.timers.delete_old_records()
    assert [each.values["at"] for each in app.table.rows(partition_key(OWNER), "audit:")] == [
        now - timedelta(days=days)
    ]
    kept = [partition for partition in app.audit_table.partitions if rows_in(app, partition)]
    assert [partition for partition in kept if partition != DAYS_PARTITION] == [
        f"{partition_key(OWNER)}!{(now - timedelta(days=days)).date()}"
    ]


def rows_in(app: App, partition: str) -> int:
    return len(app.audit_table.partitions[partition])


async def test_a_flood_of_strangers_does_not_fill_the_table() -> None:
    table = FakeTable()
    trail = AuditTrail(table, FakeTable(), None)
    for number in range(10 * ANONYMOUS_PER_MINUTE):
        trail.note_anonymous(record(NOON + timedelta(milliseconds=number), owner="$nobody"))
    trail.note_anonymous(record(NOON + timedelta(minutes=2), owner="$nobody"))
    await trail.aclose()
    assert len(rows(table, "$nobody")) == ANONYMOUS_PER_MINUTE + 1


async def test_what_was_noted_is_written_before_the_app_ends() -> None:
    table = FakeTable()
    trail = AuditTrail(table, FakeTable(), None)
    for number in range(20):
        trail.note(record(NOON + timedelta(seconds=number)))
    await trail.aclose()
    assert len(rows(table)) == 20
    assert table.closed
