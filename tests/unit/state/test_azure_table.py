"""Writes whose answer was lost, errors in our words, and tables made when first needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any, cast

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.data.tables import EdmType, EntityProperty, TableEntity
from azure.data.tables.aio import TableClient

from shared.state.azure_table import WRITE_ATTEMPTS, AzureTable
from shared.state.clock import StorageClock
from shared.state.errors import (
    RowChangedError,
    RowExistsError,
    RowMissingError,
    StateError,
    StorageUnavailableError,
)
from shared.state.table import Change, Operation, equals, since

INSERT = Change(Operation.INSERT, "turn:1", {"answer": "A", "count": 5, "gone": None})


def refusal(status: int, code: str = "") -> HttpResponseError:
    """An error of azure-data-tables with a status and the service's code."""
    error = HttpResponseError(f"refused with {status}")
    error.status_code = status
    error.error_code = code  # pyright: ignore[reportAttributeAccessIssue] - tables adds it
    return error


Fault = Callable[["StubClient"], Exception | None]


def lost(_: StubClient) -> Exception:
    """The write lands, its answer does not arrive."""
    return ServiceResponseError("the connection was cut")


class StubClient:
    """The few methods of `TableClient` that we use, on a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[str, TableEntity] = {}
        self.exists = True
        self.requests: list[str] = []
        self.before: list[Exception] = []
        """Raised by the next writes, which then do not happen."""
        self.after: list[Fault | None] = []
        """What the next writes do once they have happened."""
        self.queries: list[str] = []
        self._versions = count(1)

    async def create_table(self, **_: Any) -> None:
        self.requests.append("create_table")
        self.exists = True

    async def get_entity(self, partition: str, row_key: str, **_: Any) -> TableEntity:
        self.requests.append("get")
        if row_key not in self.rows:
            raise ResourceNotFoundError("no such row")
        return self.rows[row_key]

    async def create_entity(self, entity: dict[str, Any], **_: Any) -> dict[str, str]:
        return (await self._write("create", [("create", entity, {})]))[0]

    async def upsert_entity(self, entity: dict[str, Any], *_: Any, **__: Any) -> dict[str, str]:
        return (await self._write("upsert", [("upsert", entity, {})]))[0]

    async def update_entity(self, entity: dict[str, Any], **options: Any) -> dict[str, str]:
        return (await self._write("update", [("update", entity, options)]))[0]

    async def delete_entity(self, entity: dict[str, Any], **options: Any) -> None:
        await self._write("delete", [("delete", entity, options)])

    async def submit_transaction(
        self, operations: list[tuple[str, dict[str, Any], dict[str, Any]]], **_: Any
    ) -> list[dict[str, str]]:
        return await self._write("transaction", operations)

    def query_entities(self, condition: str, **_: Any) -> AsyncIterator[TableEntity]:
        self.queries.append(condition)

        async def rows() -> AsyncIterator[TableEntity]:
            for key in sorted(self.rows):
                yield self.rows[key]

        return rows()

    async def close(self) -> None:
        self.requests.append("close")

    async def _write(
        self, name: str, operations: list[tuple[str, dict[str, Any], dict[str, Any]]]
    ) -> list[dict[str, str]]:
        self.requests.append(name)
        if self.before:
            raise self.before.pop(0)
        if not self.exists:
            raise refusal(404, "TableNotFound")
        answers = [self._apply(*operation) for operation in operations]
        fault = self.after.pop(0) if self.after else None
        if fault and (error := fault(self)):
            raise error
        return answers

    def _apply(self, action: str, given: dict[str, Any], options: dict[str, Any]) -> dict[str, str]:
        entity = TableEntity(given)
        key = str(given["RowKey"])
        old = self.rows.get(key)
        if action == "create" and old is not None:
            raise refusal(409, "EntityAlreadyExists")
        if action not in {"create", "upsert"} and old is None:
            raise refusal(404, "ResourceNotFound")
        if old is not None and options.get("etag", old.metadata["etag"]) != old.metadata["etag"]:
            raise refusal(412, "UpdateConditionNotSatisfied")
        etag = f"v{next(self._versions)}"
        entity._metadata = {"etag": etag, "timestamp": None}  # pyright: ignore[reportPrivateUsage] - only the SDK sets it
        if action == "delete":
            del self.rows[key]
        else:
            self.rows[key] = entity
        return {"etag": etag}


@pytest.fixture
def client() -> StubClient:
    return StubClient()


@pytest.fixture
def table(client: StubClient) -> AzureTable:
    return AzureTable(cast("TableClient", client), StorageClock())


async def test_a_row_is_written_and_read(client: StubClient, table: AzureTable) -> None:
    etag = await table.write("p", [INSERT])
    row = await table.get("p", "turn:1")
    assert row is not None
    assert (row.row_key, row.etag) == ("turn:1", etag)
    assert row.values == {"answer": "A", "count": 5}
    assert client.requests == ["create", "get"]
    assert client.rows["turn:1"]["count"] == EntityProperty(5, EdmType.INT64)


async def test_several_changes_are_one_transaction(client: StubClient, table: AzureTable) -> None:
    etag = await table.write("p", [INSERT])
    changed = await table.write(
        "p", [Change(Operation.MERGE, "turn:1", {"n": 1}, etag), Change(Operation.INSERT, "b", {})]
    )
    assert client.requests == ["create", "transaction"]
    assert client.rows["turn:1"].metadata["etag"] == changed


async def test_a_missing_row_is_none(table: AzureTable) -> None:
    assert await table.get("p", "none") is None


async def test_a_write_whose_answer_was_lost_is_looked_up_not_repeated(
    client: StubClient, table: AzureTable
) -> None:
    client.after = [lost]
    etag = await table.write("p", [INSERT])
    assert etag == client.rows["turn:1"].metadata["etag"]
    assert client.requests == ["create", "get"]


async def test_a_lost_update_is_found_as_well(client: StubClient, table: AzureTable) -> None:
    etag = await table.write("p", [INSERT])
    client.after = [lost]
    changes = [
        Change(Operation.MERGE, "turn:1", {"answer": "B"}, etag),
        Change(Operation.INSERT, "x"),
    ]
    assert await table.write("p", changes) == client.rows["turn:1"].metadata["etag"]
    assert client.requests == ["create", "transaction", "get", "get"]


async def test_a_write_that_did_not_land_is_repeated(client: StubClient, table: AzureTable) -> None:
    client.before = [ServiceRequestError("refused"), refusal(503), refusal(429)]
    await table.write("p", [INSERT])
    assert client.requests == ["create", "get"] * 3 + ["create"]


async def test_an_outage_ends_in_one_error_after_all_attempts(
    client: StubClient, table: AzureTable
) -> None:
    client.before = [ServiceRequestError("refused")] * WRITE_ATTEMPTS
    with pytest.raises(StorageUnavailableError, match="AzureWebJobsStorage"):
        await table.write("p", [INSERT])
    assert client.requests.count("create") == WRITE_ATTEMPTS
    assert not client.rows


async def test_a_conflict_at_the_first_attempt_is_somebody_elses(
    client: StubClient, table: AzureTable
) -> None:
    await table.write("p", [INSERT])
    with pytest.raises(RowExistsError):
        await table.write("p", [INSERT])


async def test_a_late_landing_of_our_own_is_not_a_conflict(
    client: StubClient, table: AzureTable
) -> None:
    """The first attempt lands only after we looked; the second then meets it."""

    class Late(StubClient):
        async def get_entity(self, partition: str, row_key: str, **_: Any) -> TableEntity:
            try:
                return await super().get_entity(partition, row_key)
            finally:
                if row_key not in self.rows:
                    self._apply("create", {"PartitionKey": "p", "RowKey": row_key, "a": "b"}, {})

    late = Late()
    late.before = [ServiceResponseError("cut")]
    change = Change(Operation.INSERT, "turn:1", {"a": "b"})
    assert await AzureTable(cast("TableClient", late), StorageClock()).write("p", [change])


async def test_somebody_elses_row_is_not_taken_for_ours(
    client: StubClient, table: AzureTable
) -> None:
    await table.write("p", [Change(Operation.INSERT, "turn:1", {"answer": "theirs"})])
    client.before = [ServiceResponseError("cut")]
    with pytest.raises(RowExistsError):
        await table.write("p", [INSERT])


async def test_a_commit_is_found_even_if_its_first_row_has_moved_on(
    client: StubClient, table: AzureTable
) -> None:
    etag = await table.write(
        "p", [Change(Operation.INSERT, "thread:1", {"lease_holder": "turn_1"})]
    )

    def lost_and_leased_again(stub: StubClient) -> Exception:
        again = {"PartitionKey": "p", "RowKey": "thread:1", "lease_holder": "turn_2"}
        stub._apply("update", again, {})  # pyright: ignore[reportPrivateUsage] - somebody else's write
        return ServiceResponseError("cut")

    client.after = [lost_and_leased_again]
    await table.write(
        "p",
        [Change(Operation.MERGE, "thread:1", {"lease_holder": ""}, etag), INSERT],
    )
    assert "turn:1" in client.rows


async def test_a_removal_that_happened_is_a_removal(client: StubClient, table: AzureTable) -> None:
    await table.write("p", [INSERT, Change(Operation.INSERT, "b")])
    assert await table.write("p", [Change(Operation.DELETE, "b")]) == ""
    assert list(client.rows) == ["turn:1"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refusal(412), RowChangedError),
        (refusal(409), RowExistsError),
        (refusal(404), RowMissingError),
        (refusal(400), StateError),
    ],
)
async def test_a_refusal_becomes_its_error(
    client: StubClient, table: AzureTable, error: Exception, kind: type[StateError]
) -> None:
    client.before = [error]
    with pytest.raises(StateError) as caught:
        await table.write("p", [Change(Operation.MERGE, "turn:1", {"a": "b"}, "v1")])
    assert type(caught.value) is kind
    assert client.requests == ["update"]


@pytest.mark.parametrize("error", [refusal(401), refusal(403), ClientAuthenticationError("no")])
async def test_a_missing_role_is_named(
    client: StubClient, table: AzureTable, error: Exception
) -> None:
    client.before = [error] * WRITE_ATTEMPTS
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
    client: StubClient, table: AzureTable, changes: list[Change]
) -> None:
    client.exists = False
    assert await table.write("p", changes)
    assert client.requests.count("create_table") == 1


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


async def test_closing_closes_the_client(client: StubClient, table: AzureTable) -> None:
    await table.aclose()
    assert client.requests == ["close"]
