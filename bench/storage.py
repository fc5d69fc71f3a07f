"""What a request to Table Storage costs: this app's own way beside azure-data-tables.

`python -m bench.storage` sends the row of a turn to `bench.table`, a process that answers at once,
in turn by both, and prints the processor time of this process per request, ratios first.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from statistics import median
from time import process_time

from azure.data.tables import EdmType, EntityProperty, UpdateMode
from azure.data.tables.aio import TableClient

from shared.config import StorageSettings
from shared.state.account import open_tables
from shared.state.clock import StorageClock
from shared.state.table import Change, Operation, Table, Value

from .app import TABLE
from .http_server import running

ROUNDS = 5
REQUESTS = 400
WARM_UP_REQUESTS = 50
PARTITION = "tenant:owner"
THREAD = {"lease_holder": "", "message_count": 5, "last_accessed": datetime(2026, 3, 1, tzinfo=UTC)}
TURN: dict[str, Value] = {
    "mode": "sync",
    "status": "succeeded",
    "created_at": datetime(2026, 3, 1, 12, tzinfo=UTC),
    "latency": 0.5,
    "domain": "general",
    "model": "llama-3.3-70b",
    "question": "What is the capital of Belgium? " * 3,
    "answer": "The capital of Belgium is Brussels. " * 10,
    "finish_reason": "stop",
    "response_id": "resp_00000000000000000000000000000000",
    "request_id": "00000000-0000-0000-0000-000000000000",
    "input_tokens": 20,
    "output_tokens": 80,
    "total_tokens": 100,
}

Send = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Pair:
    """One request, as this app and as the library send it."""

    name: str
    ours: Send
    theirs: Send


def entity(row_key: str, values: dict[str, Value]) -> dict[str, object]:
    """A row as azure-data-tables takes it, with the same types."""
    typed = {
        name: EntityProperty(value, EdmType.INT64) if isinstance(value, int) else value
        for name, value in values.items()
    }
    return {"PartitionKey": PARTITION, "RowKey": row_key, **typed}


def pairs(table: Table, client: TableClient) -> list[Pair]:
    """The requests that turns make."""
    numbers = count()

    def turn() -> Change:
        return Change(Operation.INSERT, f"turn:-:{next(numbers)}", TURN)

    async def transaction() -> None:
        merge = ("update", entity("thread:1", THREAD), {"mode": UpdateMode.MERGE})
        insert = ("create", entity(f"turn:-:{next(numbers)}", TURN))
        await client.submit_transaction([merge, insert], retry_total=0)

    return [
        Pair(
            "one insert",
            lambda: table.write(PARTITION, [turn()]),
            lambda: client.create_entity(entity(f"turn:-:{next(numbers)}", TURN), retry_total=0),
        ),
        Pair(
            "a transaction of 2",
            lambda: table.write(PARTITION, [Change(Operation.MERGE, "thread:1", THREAD), turn()]),
            transaction,
        ),
        Pair(
            "one row read",
            lambda: table.get(PARTITION, "thread:1"),
            lambda: client.get_entity(PARTITION, "thread:1", retry_total=0),
        ),
    ]


async def cpu_ms(send: Send, requests: int) -> float:
    """Processor time of this process per request."""
    started = process_time()
    for _ in range(requests):
        await send()
    return (process_time() - started) / requests * 1000


async def run(storage: StorageSettings) -> None:
    """Print one row for each request."""
    tables = open_tables(storage, None, StorageClock())
    client = TableClient.from_connection_string(storage.connection_string, storage.state_table)
    for pair in pairs(tables.state, client):
        for send in (pair.ours, pair.theirs):
            await cpu_ms(send, WARM_UP_REQUESTS)
        rounds = [
            (await cpu_ms(pair.ours, REQUESTS), await cpu_ms(pair.theirs, REQUESTS))
            for _ in range(ROUNDS)
        ]
        ratio = median(ours / theirs for ours, theirs in rounds)
        ours, theirs = (median(values) for values in zip(*rounds, strict=True))
        print(f"{pair.name:20} CPU {ratio:5.2f}  | {ours:5.2f} ms | {theirs:5.2f} ms", flush=True)
    for each in (tables.state, tables.audit, tables.metrics):
        await each.aclose()
    await client.close()


def main() -> int:
    """Run the benchmark."""
    print(f"ratio, then this app | azure-data-tables; median of {ROUNDS} rounds")
    with running("bench.table") as port:
        asyncio.run(run(StorageSettings(connection_string=TABLE.format(port=port))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
