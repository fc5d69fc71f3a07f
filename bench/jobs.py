"""What a job costs the worker, and how many one worker does.

`python -m bench.jobs` serves the app through Microsoft's worker library, submits jobs over HTTP,
and delivers their wake-ups as the Functions host does. The upstream answers at once; the storage is
a stand-in that does, too, then Azurite. `--beside FOLDER` compares with another checkout.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueMessage, TextBase64DecodePolicy
from azure.storage.queue.aio import QueueClient

from local.services import ROOT, Azurite, azurite
from tests.support.environments import DEPLOYED_VERSION, find_python, with_requirements

from .app import TABLE, our_app
from .client import MESSAGE
from .http_server import running
from .queue import queue
from .served import Served
from .upstream import upstream

ROUNDS = 4
JOBS = 150
WARM_UP_JOBS = 30
SUBMITTERS = 16
BATCH = 32
"""Messages that the host fetches at once: `batchSize` in host.json."""

RUN_SECONDS = 60
"""Jobs that take longer were never woken; then the benchmark fails with the worker's log."""

LANES_QUEUE = "agent-lanes"

Receive = Callable[[], Awaitable[int]]
"""Deliver the messages that are there, and wait for the functions; returns how many there were."""


@dataclass(frozen=True)
class Measured:
    """What jobs took."""

    cpu_ms: float
    """Processor time of the worker process per job, from its submission to its end."""
    submit_ms: float
    """The part of it until the job was accepted."""
    per_second: float
    """Jobs run, from the first wake-up that was delivered to the last job that ended."""

    def __str__(self) -> str:
        return (
            f"{self.cpu_ms:5.2f} ms CPU ({self.submit_ms:.2f} to submit)  {self.per_second:4.0f}/s"
        )


async def measure(served: Served, receive: Receive, jobs: int) -> Measured:
    """Submit jobs, then run them."""
    numbers, started = iter(range(jobs)), served.cpu_seconds()
    served.reconnect()

    async def submit(place: int) -> None:
        for _ in numbers:
            await served.submit(place, {"message": MESSAGE})

    await asyncio.gather(*map(submit, range(SUBMITTERS)))
    submitted, begun, done = served.cpu_seconds(), perf_counter(), 0
    async with asyncio.timeout(RUN_SECONDS):
        while done < jobs:
            done += await receive()
    took = perf_counter() - begun
    return Measured(
        cpu_ms=(served.cpu_seconds() - started) / jobs * 1000,
        submit_ms=(submitted - started) / jobs * 1000,
        per_second=jobs / took,
    )


@asynccontextmanager
async def at_once() -> AsyncGenerator[tuple[str, Callable[[Served], Receive]]]:
    """Storage that answers at once: its connection string, and what receives from its queue."""
    async with queue() as (port, texts):
        with running("bench.table") as table_port:
            table = TABLE.format(port=table_port).rpartition("QueueEndpoint=")[0]
            account = f"{table}QueueEndpoint=http://127.0.0.1:{port}/devstoreaccount1"

            def receiving(served: Served) -> Receive:
                async def receive() -> int:
                    batch = [await texts.get()]
                    while not texts.empty() and len(batch) < BATCH:
                        batch.append(texts.get_nowait())
                    await asyncio.gather(*(served.deliver("run_lane", text) for text in batch))
                    return len(batch)

                return receive

            yield account, receiving


@asynccontextmanager
async def on_azurite(azure: Azurite) -> AsyncGenerator[tuple[str, Callable[[Served], Receive]]]:
    """The same of Azurite."""
    account = azure.connection_string
    client = QueueClient.from_connection_string(
        account, LANES_QUEUE, message_decode_policy=TextBase64DecodePolicy()
    )

    def receiving(served: Served) -> Receive:
        async def process(message: QueueMessage) -> None:
            await served.deliver("run_lane", str(message.content))
            await client.delete_message(message)

        async def receive() -> int:
            try:
                batch = [each async for each in client.receive_messages(max_messages=BATCH)]
            except ResourceNotFoundError:  # the first wake-up creates it
                return 0
            await asyncio.gather(*map(process, batch))
            return len(batch)

        return receive

    async with client:
        yield account, receiving


async def compare(
    name: str, pair: list[tuple[Served, Receive]], jobs: int, rounds: int = ROUNDS
) -> None:
    """Measure one app, or two in turns, and print one row: ratios first."""
    for served, receive in pair:
        await measure(served, receive, WARM_UP_JOBS)
    measured = [[await measure(*each, jobs) for each in pair] for _ in range(rounds)]
    text = f"jobs, {name:16}"
    if len(pair) > 1:
        cpu = median(each[0].cpu_ms / each[1].cpu_ms for each in measured)
        speed = median(each[0].per_second / each[1].per_second for each in measured)
        text += f"  CPU {cpu:5.2f}  jobs/s {speed:5.2f}"
    for number in range(len(pair)):
        names = vars(measured[0][number])
        text += f"  | {_median([each[number] for each in measured], list(names))}"
    print(text, flush=True)


def _median(rounds: list[Measured], names: list[str]) -> Measured:
    return Measured(**{name: median(getattr(each, name) for each in rounds) for name in names})


async def run(python: Path, url: str, options: argparse.Namespace, azure: Azurite) -> None:
    """Print all rows."""
    folders = [ROOT, *([options.beside.resolve()] if options.beside else [])]
    for name, storage in (("storage at once", at_once()), ("Azurite", on_azurite(azure))):
        async with AsyncExitStack() as stack:
            account, receiving = await stack.enter_async_context(storage)
            pair: list[tuple[Served, Receive]] = []
            for folder in folders:
                app = our_app(folder.name, folder, url, account)
                served = await stack.enter_async_context(Served.running(app, python))
                pair.append((served, receiving(served)))
            await compare(name, pair, options.jobs, options.rounds)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench.jobs", description=__doc__)
    parser.add_argument("--beside", type=Path, help="folder of another checkout of the app")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    interpreter = find_python()
    if interpreter is None:
        print(f"skipped: there is no Python {DEPLOYED_VERSION} on PATH or among pyenv's versions")
        return 0
    python = with_requirements(interpreter)
    with (
        tempfile.TemporaryDirectory() as folder,
        azurite(Path(folder), Path(folder)) as azure,
        upstream(delay=0.0) as url,
    ):
        asyncio.run(run(python, url, options, azure))
    return 0


if __name__ == "__main__":
    sys.exit(main())
