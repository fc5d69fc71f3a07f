"""Writes whose answer was lost, errors in our words, and tables made when first needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.data.tables import TableEntity
from azure.data.tables.aio import TableClient

from shared.state.azure_table import READ_RETRIES, WRITE_ATTEMPTS, AzureTable
from shared.state.clock import StorageClock
from shared.state.errors import (
    RowChangedError,
    RowExistsError,
    RowMissingError,
    StateError,
    StorageUnavailableError,
)
from shared.state.table import Change, Operation, equals, since
from tests.support import table_service
from tests.support.table_service import Part, RefusedError, StoredRow, TableService

CUT = httpx.ReadError("the connection was cut")
DOWN = httpx.ConnectError("refused")
INSERT = Change(Operation.INSERT, "turn:1", {"answer": "A", "count": 5, "gone": None})


def lost(_: TableService) -> Exception:
    """The write lands, its answer does not arrive."""
    return CUT


class StubClient:
    """The methods of `TableClient` that we use: it makes tables and runs queries."""

    def __init__(self, storage: TableService) -> None:
        self._storage = storage
        self.queries: list[str] = []

    async def create_table(self, **_: Any) -> None:
        self._storage.requests.append("create_table")
        self._storage.exists = True

    def query_entities(self, condition: str, **_: Any) -> AsyncIterator[TableEntity]:
        self.queries.append(condition)

        async def rows() -> AsyncIterator[TableEntity]:
            for key in sorted(self._storage.rows):
                row = self._storage.rows[key]
                entity = TableEntity(row.properties)
                entity._metadata = {"etag": row.etag, "timestamp": None}  # pyright: ignore[reportPrivateUsage] - only the SDK sets it
                yield entity

        return rows()

    async def close(self) -> None:
        self._storage.requests.append("close")


@pytest.fixture
def storage() -> TableService:
    return TableService()


@pytest.fixture
def client(storage: TableService) -> StubClient:
    return StubClient(storage)


@pytest.fixture
def table(storage: TableService, client: StubClient) -> AzureTable:
    return opened(storage, client)


def opened(storage: TableService, client: StubClient) -> AzureTable:
    clock = StorageClock()
    service = storage.opened(clock.observe)
    return AzureTable("rows", lambda: cast("TableClient", client), service, clock)


async def test_a_row_is_written_and_read(storage: TableService, table: AzureTable) -> None:
    etag = await table.write("p", [INSERT])
    row = await table.get("p", "turn:1")
    assert row is not None
    assert (row.row_key, row.etag) == ("turn:1", etag)
    assert row.values == {"answer": "A", "count": 5}
    assert storage.requests == ["create", "get"]
    stored = storage.rows["turn:1"].properties
    assert (stored["count"], stored["count@odata.type"]) == ("5", "Edm.Int64")


async def test_several_changes_are_one_transaction(
    storage: TableService, table: AzureTable
) -> None:
    etag = await table.write("p", [INSERT])
    changed = await table.write(
        "p", [Change(Operation.MERGE, "turn:1", {"n": 1}, etag), Change(Operation.INSERT, "b", {})]
    )
    assert storage.requests == ["create", "transaction"]
    assert storage.rows["turn:1"].etag == changed


async def test_a_missing_row_is_none(table: AzureTable) -> None:
    assert await table.get("p", "none") is None


async def test_a_write_whose_answer_was_lost_is_looked_up_not_repeated(
    storage: TableService, table: AzureTable
) -> None:
    storage.after = [lost]
    etag = await table.write("p", [INSERT])
    assert etag == storage.rows["turn:1"].etag
    assert storage.requests == ["create", "get"]


async def test_a_lost_update_is_found_as_well(storage: TableService, table: AzureTable) -> None:
    etag = await table.write("p", [INSERT])
    storage.after = [lost]
    changes = [
        Change(Operation.MERGE, "turn:1", {"answer": "B"}, etag),
        Change(Operation.INSERT, "x"),
    ]
    assert await table.write("p", changes) == storage.rows["turn:1"].etag
    assert storage.requests == ["create", "transaction", "get", "get"]


async def test_a_write_that_did_not_land_is_repeated(
    storage: TableService, table: AzureTable
) -> None:
    storage.before = [DOWN, RefusedError(503), RefusedError(429)]
    await table.write("p", [INSERT])
    assert storage.requests == ["create", "get"] * 3 + ["create"]


async def test_a_write_above_the_rate_is_repeated_without_a_look(
    storage: TableService, table: AzureTable
) -> None:
    storage.before = [RefusedError(503, "ServerBusy")] * 2
    await table.write("p", [INSERT])
    assert storage.requests == ["create"] * 3


async def test_an_outage_ends_in_one_error_after_all_attempts(
    storage: TableService, table: AzureTable
) -> None:
    storage.before = [DOWN] * WRITE_ATTEMPTS
    with pytest.raises(StorageUnavailableError, match="AzureWebJobsStorage"):
        await table.write("p", [INSERT])
    assert storage.requests.count("create") == WRITE_ATTEMPTS
    assert not storage.rows


async def test_a_conflict_at_the_first_attempt_is_somebody_elses(
    storage: TableService, table: AzureTable
) -> None:
    await table.write("p", [INSERT])
    with pytest.raises(RowExistsError):
        await table.write("p", [INSERT])


@pytest.mark.parametrize("refusals", [0, 1, WRITE_ATTEMPTS - 1])
async def test_a_late_landing_of_our_own_is_found(refusals: int) -> None:
    """The first attempt lands only after we looked; a later one meets it, or is refused."""

    class Late(TableService):
        def _read(self, path: str) -> httpx.Response:
            try:
                return super()._read(path)
            finally:
                if "turn:1" not in self.rows:
                    self.apply(Part("create", "turn:1", properties={"RowKey": "turn:1", "a": "b"}))

    late = Late(before=[CUT, *[RefusedError(503, "ServerBusy")] * refusals])
    change = Change(Operation.INSERT, "turn:1", {"a": "b"})
    assert await opened(late, StubClient(late)).write("p", [change])


async def test_somebody_elses_row_is_not_taken_for_ours(
    storage: TableService, table: AzureTable
) -> None:
    await table.write("p", [Change(Operation.INSERT, "turn:1", {"answer": "theirs"})])
    storage.before = [CUT]
    with pytest.raises(RowExistsError):
        await table.write("p", [INSERT])


async def test_a_commit_is_found_even_if_its_first_row_has_moved_on(
    storage: TableService, table: AzureTable
) -> None:
    etag = await table.write(
        "p", [Change(Operation.INSERT, "thread:1", {"lease_holder": "turn_1"})]
    )

    def lost_and_leased_again(stub: TableService) -> Exception:
        again = {"RowKey": "thread:1", "lease_holder": "turn_2"}
        stub.apply(Part("update", "thread:1", properties=again))
        return CUT

    storage.after = [lost_and_leased_again]
    await table.write(
        "p",
        [Change(Operation.MERGE, "thread:1", {"lease_holder": ""}, etag), INSERT],
    )
    assert "turn:1" in storage.rows


async def test_a_removal_that_happened_is_a_removal(
    storage: TableService, table: AzureTable
) -> None:
    await table.write("p", [INSERT, Change(Operation.INSERT, "b")])
    assert await table.write("p", [Change(Operation.DELETE, "b")]) == ""
    assert list(storage.rows) == ["turn:1"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RefusedError(412), RowChangedError),
        (RefusedError(409), RowExistsError),
        (RefusedError(404), RowMissingError),
        (RefusedError(400), StateError),
    ],
)
async def test_a_refusal_becomes_its_error(
    storage: TableService, table: AzureTable, error: Exception, kind: type[StateError]
) -> None:
    storage.before = [error]
    with pytest.raises(StateError) as caught:
        await table.write("p", [Change(Operation.MERGE, "turn:1", {"a": "b"}, "v1")])
    assert type(caught.value) is kind
    assert storage.requests == ["update"]


@pytest.mark.parametrize(
    "error", [RefusedError(401), RefusedError(403), ClientAuthenticationError("no")]
)
async def test_a_missing_role_is_named(
    storage: TableService, table: AzureTable, error: Exception
) -> None:
    storage.before = [error] * WRITE_ATTEMPTS
    with pytest.raises(StorageUnavailableError, match="Storage Table Data Contributor"):
        await table.write("p", [INSERT])


@pytest.mark.parametrize(
    "changes",
    [
        [INSERT],
        [INSERT, Change(Operation.INSERT, "b")],
        [Change(Operation.UPSERT, "a", {"n": 1})],
        [INSERT, Change(Operation.UPSERT, "b")],
    ],
)
async def test_a_missing_table_is_made_once(
    storage: TableService, table: AzureTable, changes: list[Change]
) -> None:
    storage.exists = False
    assert await table.write("p", changes)
    assert storage.requests.count("create_table") == 1


async def test_a_scan_finds_what_came_since(client: StubClient, table: AzureTable) -> None:
    moment = datetime(2026, 3, 1, 13, 30, tzinfo=timezone(timedelta(hours=1)))
    await table.scan("p", "a", "z", limit=2, where=since("created_at", moment))
    assert client.queries[0].endswith(" and created_at ge datetime'2026-03-01T12:30:00Z'")


async def test_a_scan_asks_for_one_partition_and_stops_at_its_limit(
    client: StubClient, table: AzureTable
) -> None:
    for key in ("a", "b", "c"):
        await table.write("p", [Change(Operation.INSERT, key, {"n": key})])
    rows = await table.scan("o'p", "a", "z", limit=2, where=equals("m_x", "it's"))
    assert [row.row_key for row in rows] == ["a", "b"]
    assert client.queries == [
        "PartitionKey eq 'o''p' and RowKey gt 'a' and RowKey lt 'z' and m_x eq 'it''s'"
    ]


async def test_a_missing_table_is_made_for_a_change_that_only_it_can_lack(
    storage: TableService, table: AzureTable
) -> None:
    storage.exists = False
    change = Change(Operation.MERGE, "turn:1", {"a": "b"})
    with pytest.raises(RowMissingError):
        await table.write("p", [change])
    assert storage.requests == ["update", "create_table", "update"]


async def test_a_deletion_makes_no_table(storage: TableService, table: AzureTable) -> None:
    storage.exists = False
    assert await table.write("p", [Change(Operation.DELETE, "turn:1")]) == ""
    assert storage.requests == ["delete"]


async def test_an_upsert_in_a_transaction_replaces_as_one_on_its_own(
    storage: TableService, table: AzureTable
) -> None:
    for others in ([], [Change(Operation.INSERT, "b")]):
        await table.write("p", [Change(Operation.UPSERT, "a", {"old": 1})])
        await table.write("p", [Change(Operation.UPSERT, "a", {"new": 1}), *others])
        row = await table.get("p", "a")
        assert row is not None
        assert row.values == {"new": 1}


async def test_a_refused_change_of_a_transaction_names_its_error(
    storage: TableService, table: AzureTable
) -> None:
    await table.write("p", [INSERT])
    first = Change(Operation.INSERT, "a")
    with pytest.raises(RowExistsError):
        await table.write("p", [first, INSERT])
    with pytest.raises(RowChangedError):
        await table.write("p", [first, Change(Operation.MERGE, "turn:1", {}, "other")])
    with pytest.raises(RowMissingError):
        await table.write("p", [first, Change(Operation.DELETE, "none")])
    assert list(storage.rows) == ["turn:1"]


async def test_an_answer_that_lacks_a_part_is_a_lost_answer(
    storage: TableService, table: AzureTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may cut an answer off without an error."""
    whole = table_service._batch  # pyright: ignore[reportPrivateUsage] - what is cut here
    monkeypatch.setattr(table_service, "_batch", lambda answers: whole(answers[:1]))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    etag = await table.write("p", [INSERT, Change(Operation.INSERT, "b")])
    assert etag == storage.rows["turn:1"].etag
    assert storage.requests == ["transaction", "get"]


async def test_a_read_is_repeated_while_storage_is_away(
    storage: TableService, table: AzureTable
) -> None:
    await table.write("p", [INSERT])
    storage.before_reads = [DOWN, RefusedError(503, "ServerBusy"), RefusedError(429)]
    assert await table.get("p", "turn:1")
    storage.before_reads = [DOWN] * (READ_RETRIES + 1)
    with pytest.raises(StorageUnavailableError, match="AzureWebJobsStorage"):
        await table.get("p", "turn:1")


@pytest.mark.parametrize(
    "error", [RefusedError(403, "AuthorizationFailure"), RefusedError(400, "InvalidInput")]
)
async def test_a_refused_read_is_not_repeated(
    storage: TableService, table: AzureTable, error: RefusedError
) -> None:
    storage.before_reads = [error]
    with pytest.raises(StateError, match=error.code):
        await table.get("p", "turn:1")
    assert storage.requests == ["get"]


async def test_text_that_no_store_can_hold_is_stored_clean_and_found_again(
    storage: TableService, table: AzureTable
) -> None:
    storage.after = [lost]
    etag = await table.write("p", [Change(Operation.INSERT, "turn:1", {"a": "x\ud800y"})])
    assert storage.rows["turn:1"] == StoredRow(
        etag, {"PartitionKey": "p", "RowKey": "turn:1", "a": "x?y"}
    )


async def test_closing_the_last_table_closes_the_connections(
    storage: TableService, client: StubClient
) -> None:
    clock, service = StorageClock(), storage.opened()
    asked, other = (
        AzureTable("rows", lambda: cast("TableClient", client), service, clock) for _ in range(2)
    )
    await asked.scan("p", "", "~", limit=1)
    await asked.aclose()
    assert (storage.requests, storage.closed) == (["close"], 0)
    await other.aclose()  # which has not opened the library's client
    assert (storage.requests, storage.closed) == (["close"], 1)
