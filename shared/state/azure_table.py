"""`Table` on Azure Table Storage: reads and writes of rows are lean, queries use azure-data-tables.

That library is imported by the first query: a process starts faster without it.

If the response to a write is lost, the row is read before a retry, so that our own earlier success
is not mistaken for another writer's conflict.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceNotFoundError,
)

from ..text import clean
from . import table_wire
from .clock import StorageClock
from .errors import (
    ConditionTooLongError,
    RowChangedError,
    RowExistsError,
    RowMissingError,
    StateError,
    StorageUnavailableError,
)
from .refusals import code_of, refusal
from .service import Answer, Service, StorageService
from .table import Change, Operation, Row, equals

if TYPE_CHECKING:
    from azure.core.pipeline import PipelineResponse
    from azure.data.tables import TableEntity
    from azure.data.tables.aio import TableClient

TABLE_STORAGE = Service("Table Storage", "Storage Table Data Contributor", seconds=30.0)
"""Table Storage itself ends a request after 30 s:
https://learn.microsoft.com/rest/api/storageservices/setting-timeouts-for-table-service-operations"""

WRITE_ATTEMPTS = 4
READ_RETRIES = 3
FIRST_BACKOFF_SECONDS = 0.1
MAX_CONDITION_BYTES = 8_000
"""The longest encoded condition of a query; servers and proxies refuse longer URLs."""

PAGE_ROWS = 1000
"""The most rows in one response to a query."""

TABLE_NOT_FOUND = "TableNotFound"
"""https://learn.microsoft.com/rest/api/storageservices/table-service-error-codes"""

OpenClient = Callable[[], "TableClient"]
"""Opens the table in azure-data-tables."""


class AzureTable:
    """A table of Azure Table Storage, which the first insert creates if it is missing."""

    def __init__(
        self, name: str, open_client: OpenClient, service: StorageService, clock: StorageClock
    ) -> None:
        self._name = name
        self._open_client = open_client
        self._service = service.join()
        self._clock = clock

    @cached_property
    def _client(self) -> TableClient:
        return self._open_client()

    def _observe(self, response: PipelineResponse[Any, Any]) -> None:
        """Record the service's time, and raise on 403 before the library parses the response.

        A 403 has an XML body, and azure-data-tables tests the truth value of its elements, which
        Python deprecates. The error code and status are in the headers.
        """
        http = response.http_response
        self._clock.observe(http.headers.get("Date"))
        if http.status_code == HTTPStatus.FORBIDDEN:
            raise self._translate(HttpResponseError(response=http))

    async def get(self, partition: str, row_key: str) -> Row | None:
        """See `Table.get`."""
        request = table_wire.read(self._name, partition, row_key)
        answer = await self._service.send(request, attempts=READ_RETRIES + 1)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.failed:
            raise _error(answer)
        try:
            return table_wire.row(answer)
        except (ValueError, LookupError) as error:
            raise self._service.unavailable("its answer is not a row") from error

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
            raise self._translate(error) from error
        return rows

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        """See `Table.write`."""
        backoff, may_have_landed = FIRST_BACKOFF_SECONDS, False
        for attempt in range(1, WRITE_ATTEMPTS + 1):
            try:
                return await self._submit(partition, changes)
            except StorageUnavailableError as error:
                may_have_landed |= not error.is_refusal
                if may_have_landed and (etag := await self._landed(partition, changes)):
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
        values = clean(witness.values)  # as they were sent
        written = {name: value for name, value in values.items() if value is not None}
        if any(row.values.get(name) != value for name, value in written.items()):
            return None
        first = row if witness is changes[0] else await self.get(partition, changes[0].row_key)
        return first.etag if first else None

    async def _submit(self, partition: str, changes: Sequence[Change]) -> str:
        answer = await self._send(partition, changes)
        if _no_table(answer, changes):
            await self._create()
            answer = await self._send(partition, changes)
        if not answer.failed:
            return answer.etag
        if answer.status == HTTPStatus.NOT_FOUND and _is_deletion(changes):
            return ""
        raise _error(answer)

    async def _send(self, partition: str, changes: Sequence[Change]) -> Answer:
        """Send one request; returns the answer to the refused change, or else to the first."""
        if len(changes) == 1:
            return await self._service.send(table_wire.write(self._name, partition, changes[0]))
        request = table_wire.transaction(self._service.url, self._name, partition, changes)
        whole = await self._service.send(request)
        if whole.failed:
            return whole
        answers = table_wire.answers(whole.body)
        refused = next((answer for answer in answers if answer.failed), None)
        if refused is None and len(answers) < len(changes):
            raise self._service.unavailable("its answer is not complete")
        return self._service.check(refused or answers[0])

    async def _create(self) -> None:
        try:
            await self._client.create_table(raw_response_hook=self._observe)
        except AzureError as error:
            translated = self._translate(error)
            if not isinstance(translated, RowExistsError):  # another process created it meanwhile
                raise translated from error

    def _translate(self, error: AzureError) -> StateError:
        """Map an error of azure-data-tables to ours, by the HTTP status of the service."""
        if refused := refusal(error, TABLE_STORAGE.name, TABLE_STORAGE.role):
            return StorageUnavailableError(refused)
        if not isinstance(error, HttpResponseError) or error.status_code is None:
            return self._service.unavailable()
        answer = Answer(error.status_code, "", b"", code_of(error), error.message)
        return self._service.failure(answer) or _error(answer)

    async def aclose(self) -> None:
        """See `Table.aclose`."""
        if "_client" in self.__dict__:  # it was needed
            await self._client.close()
        await self._service.aclose()


def _row(entity: TableEntity) -> Row:
    from azure.data.tables import EntityProperty

    values = {
        name: value.value if isinstance(value, EntityProperty) else value
        for name, value in cast("dict[str, Any]", entity).items()
    }
    del values["PartitionKey"]
    return Row(str(values.pop("RowKey")), str(entity.metadata["etag"]), values)


def _is_deletion(changes: Sequence[Change]) -> bool:
    """Whether the only change is a deletion: a row that is missing is then a success."""
    return len(changes) == 1 and changes[0].action is Operation.DELETE


def _no_table(answer: Answer, changes: Sequence[Change]) -> bool:
    """Whether the table is missing; for an insert, 404 can mean nothing else."""
    if answer.status != HTTPStatus.NOT_FOUND or _is_deletion(changes):
        return False
    inserts = all(change.action in {Operation.INSERT, Operation.UPSERT} for change in changes)
    return inserts or answer.code == TABLE_NOT_FOUND


def _error(answer: Answer) -> StateError:
    """The error for an answer that depends on the row."""
    match answer.status:
        case HTTPStatus.NOT_FOUND:
            return RowMissingError("The row to change or read does not exist.")
        case HTTPStatus.PRECONDITION_FAILED:
            return RowChangedError("Another writer changed the row since it was read.")
        case HTTPStatus.CONFLICT:
            return RowExistsError("The row to insert exists already.")
        case status:
            reason = ": ".join(part for part in (answer.code, answer.reason.strip()) if part)
            return StateError(f"Table Storage refuses a request ({status}): {reason}")
