"""`Table` on Azure Table Storage, through azure-data-tables.

The library's own retries are off for writes. If the response to a write is lost, the row is read
before a retry, so that our own earlier success is not mistaken for another writer's conflict.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.core.pipeline import PipelineResponse
from azure.data.tables import EdmType, EntityProperty, TableEntity, TableErrorCode, UpdateMode
from azure.data.tables.aio import TableClient

from ..text import clean
from .clock import StorageClock
from .errors import (
    ConditionTooLongError,
    RowChangedError,
    RowExistsError,
    RowMissingError,
    StateError,
    StorageUnavailableError,
)
from .refusals import refusal
from .table import Change, Operation, Row, Value, equals

TABLE_ROLE = "Storage Table Data Contributor"
WRITE_ATTEMPTS = 4
READ_RETRIES = 3
FIRST_BACKOFF_SECONDS = 0.1
MAX_CONDITION_BYTES = 8_000
"""The longest encoded condition of a query; servers and proxies refuse longer URLs."""

PAGE_ROWS = 1000
"""The most rows in one response to a query."""


class AzureTable:
    """A table of Azure Table Storage, which the first insert creates if it is missing."""

    def __init__(self, client: TableClient, clock: StorageClock) -> None:
        self._client = client
        self._clock = clock

    def _observe(self, response: PipelineResponse[Any, Any]) -> None:
        """Record the service's time, and raise on 403 before the library parses the response.

        A 403 has an XML body, and azure-data-tables tests the truth value of its elements, which
        Python deprecates. The error code and status are in the headers.
        """
        http = response.http_response
        self._clock.observe(http.headers.get("Date"))
        if http.status_code == HTTPStatus.FORBIDDEN:
            raise _translate(HttpResponseError(response=http))

    async def get(self, partition: str, row_key: str) -> Row | None:
        """See `Table.get`."""
        try:
            entity = await self._client.get_entity(
                partition, row_key, retry_total=READ_RETRIES, raw_response_hook=self._observe
            )
        except ResourceNotFoundError:
            return None
        except AzureError as error:
            raise _translate(error) from error
        return _row(entity)

    async def scan(
        self,
        partition: str,
        after: str,
        before: str,
        *,
        limit: int,
        where: str = "",
        select: Sequence[str] = (),
    ) -> list[Row]:
        """See `Table.scan`."""
        condition = (
            f"{equals('PartitionKey', partition)} and RowKey gt '{after}' and RowKey lt '{before}'"
        )
        if where:
            condition += f" and {where}"
        names = ["PartitionKey", "RowKey", *select] if select else None
        return [row for _, row in await self._query(condition, limit, names)]

    async def walk(
        self, after: tuple[str, str], *, limit: int, select: Sequence[str]
    ) -> list[tuple[str, Row]]:
        """See `Table.walk`; one query for the rest of the partition, one for later partitions."""
        partition, row_key = after
        within = f"{equals('PartitionKey', partition)} and RowKey gt '{row_key}'"
        names = ["PartitionKey", "RowKey", *select]
        rows = await self._query(within, limit, names)
        if len(rows) < limit:
            later = f"PartitionKey gt '{partition}'"
            rows += await self._query(later, limit - len(rows), names)
        return rows

    async def _query(
        self, condition: str, limit: int, select: list[str] | None = None
    ) -> list[tuple[str, Row]]:
        if len(quote(condition)) > MAX_CONDITION_BYTES:
            raise ConditionTooLongError
        pages = self._client.query_entities(
            condition,
            results_per_page=min(limit, PAGE_ROWS),
            select=select,
            retry_total=READ_RETRIES,
            raw_response_hook=self._observe,
        )
        rows: list[tuple[str, Row]] = []
        try:
            async for entity in pages:
                keys = cast("dict[str, Any]", entity)
                rows.append((str(keys["PartitionKey"]), _row(entity)))
                if len(rows) == limit:
                    break
        except ResourceNotFoundError:
            return []
        except AzureError as error:
            raise _translate(error) from error
        return rows

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        """See `Table.write`."""
        changes = [replace(change, values=clean(change.values)) for change in changes]
        backoff = FIRST_BACKOFF_SECONDS
        for attempt in range(1, WRITE_ATTEMPTS + 1):
            try:
                return await self._submit(partition, changes)
            except StorageUnavailableError:
                if etag := await self._landed(partition, changes):
                    return etag
                if attempt == WRITE_ATTEMPTS:
                    raise
            except StateError:
                if attempt > 1 and (etag := await self._landed(partition, changes)):
                    return etag
                raise
            await asyncio.sleep(backoff * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            backoff *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _landed(self, partition: str, changes: Sequence[Change]) -> str | None:
        """The ETag of the first change's row if the changes were written, else None.

        The changes are one transaction, so one change proves them all. An insert is the best proof,
        because only we can have written its new key.
        """
        witness = next((c for c in changes if c.action is Operation.INSERT), changes[0])
        row = await self.get(partition, witness.row_key)
        if row is None or witness.action is Operation.DELETE:
            return None
        written = {name: value for name, value in witness.values.items() if value is not None}
        if any(row.values.get(name) != value for name, value in written.items()):
            return None
        first = row if witness is changes[0] else await self.get(partition, changes[0].row_key)
        return first.etag if first else None

    async def _submit(self, partition: str, changes: Sequence[Change]) -> str:
        try:
            return await self._send(partition, changes)
        except HttpResponseError as error:
            if not _no_table(error, changes):
                raise _translate(error) from error
        except AzureError as error:
            raise _translate(error) from error
        await self._create()
        try:
            return await self._send(partition, changes)
        except AzureError as error:
            raise _translate(error) from error

    async def _send(self, partition: str, changes: Sequence[Change]) -> str:
        """Send one request; a single change needs no transaction."""
        client = self._client
        if len(changes) > 1:
            operations = [_operation(partition, change) for change in changes]
            return _etag(
                (
                    await client.submit_transaction(
                        operations, retry_total=0, raw_response_hook=self._observe
                    )
                )[0]
            )
        _, entity, options = _operation(partition, changes[0])
        if changes[0].action is Operation.INSERT:
            return _etag(
                await client.create_entity(entity, retry_total=0, raw_response_hook=self._observe)
            )
        if changes[0].action is Operation.UPSERT:
            hook = self._observe
            replace = UpdateMode.REPLACE
            return _etag(
                await client.upsert_entity(entity, replace, retry_total=0, raw_response_hook=hook)
            )
        if changes[0].action is Operation.DELETE:
            await client.delete_entity(
                entity, retry_total=0, raw_response_hook=self._observe, **options
            )
            return ""
        return _etag(
            await client.update_entity(
                entity, retry_total=0, raw_response_hook=self._observe, **options
            )
        )

    async def _create(self) -> None:
        try:
            await self._client.create_table(raw_response_hook=self._observe)
        except HttpResponseError as error:
            refused = refusal(error, "Table Storage", TABLE_ROLE)
            if refused or error.status_code != HTTPStatus.CONFLICT:
                raise _translate(error) from error
        except AzureError as error:
            raise _translate(error) from error

    async def aclose(self) -> None:
        """See `Table.aclose`."""
        await self._client.close()


def _operation(partition: str, change: Change) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A change as the arguments of azure-data-tables: operation, entity, options."""
    entity = {"PartitionKey": partition, "RowKey": change.row_key}
    entity |= {name: _encode(v) for name, v in change.values.items() if v is not None}
    options: dict[str, Any] = {}
    if change.action in {Operation.MERGE, Operation.REPLACE}:
        options["mode"] = UpdateMode(change.action.value)
    if change.etag:
        options |= {"etag": change.etag, "match_condition": MatchConditions.IfNotModified}
    return _OPERATIONS[change.action], entity, options


_OPERATIONS = {
    Operation.INSERT: "create",
    Operation.UPSERT: "upsert",
    Operation.REPLACE: "update",
    Operation.MERGE: "update",
    Operation.DELETE: "delete",
}


def _encode(value: Value) -> Value | EntityProperty:
    if isinstance(value, int) and not isinstance(value, bool):
        return EntityProperty(value, EdmType.INT64)
    return value


def _row(entity: TableEntity) -> Row:
    values = {
        name: value.value if isinstance(value, EntityProperty) else value
        for name, value in cast("dict[str, Any]", entity).items()
    }
    del values["PartitionKey"]
    return Row(str(values.pop("RowKey")), str(entity.metadata["etag"]), values)


def _etag(metadata: Mapping[str, Any]) -> str:
    """The ETag of a written row; empty for a deleted one."""
    return str(metadata.get("etag", ""))


def _no_table(error: HttpResponseError, changes: Sequence[Change]) -> bool:
    """Whether the table is missing; for an insert, 404 can mean nothing else."""
    if getattr(error, "error_code", None) == TableErrorCode.TABLE_NOT_FOUND:
        return True
    inserts = all(change.action in {Operation.INSERT, Operation.UPSERT} for change in changes)
    return inserts and error.status_code == HTTPStatus.NOT_FOUND


_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


def _translate(error: AzureError) -> StateError:
    """Map an error of azure-data-tables to ours, by the HTTP status of the service."""
    if refused := refusal(error, "Table Storage", TABLE_ROLE):
        return StorageUnavailableError(refused)
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if status == HTTPStatus.NOT_FOUND:
        return RowMissingError("The row to change or read does not exist.")
    if status == HTTPStatus.PRECONDITION_FAILED:
        return RowChangedError("Another writer changed the row since it was read.")
    if status == HTTPStatus.CONFLICT:
        return RowExistsError("The row to insert exists already.")
    if (
        isinstance(error, HttpResponseError)
        and status
        and status < HTTPStatus.INTERNAL_SERVER_ERROR
        and status not in _PASSING
    ):
        return StateError(f"Table Storage refuses a write ({status}): {error.message}")
    return StorageUnavailableError(
        "Table Storage cannot be reached or is overloaded. Check AzureWebJobsStorage and the "
        "network rules of the storage account."
    )
