"""The whole app beside a function of ten lines that asks the official SDK and records nothing.

`python -m bench.app` serves both through Microsoft's worker library, on the deployed version of
Python, against an upstream and a table that answer at once, and prints ratios. `--beside FOLDER`
compares with another checkout of the app instead; `--azurite` stores in Azurite.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import httpx

from local.services import ROOT, azurite
from tests.support.environments import (
    DEPLOYED_VERSION,
    find_python,
    with_packages,
    with_requirements,
)

from .client import API_KEY, MODEL
from .http_server import running
from .served import App, Served, Timing
from .upstream import upstream

TEN_LINES = ROOT / "bench" / "ten_lines"
OF_TEN_LINES = TEN_LINES / "requirements.txt"
ROUNDS = 4
WARM_UP_SECONDS = 0.5
IMPORTS = 5

TABLE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=a2V5;"
    "TableEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
    "QueueEndpoint=http://127.0.0.1:{port}/devstoreaccount1"
)
"""Connection string of `bench.table`, which checks no key."""

IMPORT = (
    "import sys, time; sys.path.insert(0, sys.argv[1]); t = time.perf_counter(); "
    "import function_app; print(time.perf_counter() - t)"
)


@dataclass(frozen=True)
class Load:
    """Messages of one kind, so many at once."""

    name: str
    in_flight: int
    seconds: float = 1.5
    on_thread: bool = False
    streamed: bool = False


LOADS = (
    Load("JSON", 1),
    Load("JSON", 32),
    Load("JSON", 256, 2.5),
    Load("JSON", 1000, 6.0),
    Load("JSON on a thread", 1, on_thread=True),
    Load("JSON on a thread", 32, on_thread=True),
    Load("stream", 16, 3.0, streamed=True),
)


@dataclass(frozen=True)
class Measured:
    """What one app took under one load."""

    messages: int
    cpu_ms: float
    """Processor time of the worker process per message."""
    p50_ms: float
    per_second: float
    first_ms: float
    """From the request to the first text of a stream, p50."""
    storage_calls: float
    """Per message."""

    def __str__(self) -> str:
        return f"{self.cpu_ms:5.2f} ms CPU  p50 {self.p50_ms:6.1f} ms  {self.per_second:4.0f}/s"


Count = Callable[[], int]
"""How many requests the storage had so far."""


async def measure(served: Served, load: Load, seconds: float, count: Count) -> Measured:
    """Keep ``load.in_flight`` messages under way for some seconds."""
    timings: list[Timing] = []
    calls, cpu, started = count(), served.cpu_seconds(), perf_counter()
    until = started + seconds

    async def keep_busy(place: int) -> None:
        while perf_counter() < until:
            timings.append(
                await served.message(place, on_thread=load.on_thread, streamed=load.streamed)
            )

    await asyncio.gather(*(keep_busy(place) for place in range(load.in_flight)))
    messages, took = len(timings), perf_counter() - started
    return Measured(
        messages=messages,
        cpu_ms=(served.cpu_seconds() - cpu) / messages * 1000,
        p50_ms=median(each.whole for each in timings) * 1000,
        per_second=messages / took,
        first_ms=median(each.first_text for each in timings) * 1000,
        storage_calls=(count() - calls) / messages,
    )


async def compare(load: Load, pair: tuple[Served, Served], rounds: int, count: Count) -> None:
    """Measure two apps in turns, and print one row: ratios first, each the median of all rounds."""
    for served in pair:
        if load.on_thread:
            await served.open_threads(load.in_flight)
        await measure(served, load, WARM_UP_SECONDS, count)
    measured = [
        (
            await measure(pair[0], load, load.seconds, count),
            await measure(pair[1], load, load.seconds, count),
        )
        for _ in range(rounds)
    ]
    print(_row(load, measured), flush=True)


def _row(load: Load, measured: list[tuple[Measured, Measured]]) -> str:
    def ratio(value: Callable[[Measured], float]) -> str:
        return f"{median(value(ours) / value(theirs) for ours, theirs in measured):5.2f}"

    ours, theirs = (_median([pair[n] for pair in measured]) for n in (0, 1))
    text = f"{load.name:16} c={load.in_flight:<4}  CPU {ratio(lambda each: each.cpu_ms)}"
    text += (
        f"  p50 {ratio(lambda each: each.p50_ms)}  turns/s {ratio(lambda each: each.per_second)}"
    )
    text += f"  | {ours} | {theirs} | storage calls {ours.storage_calls:.2f}"
    if load.streamed:
        text += f" | first text {ours.first_ms:.1f} ms, {theirs.first_ms:.1f} ms"
    return text


def _median(rounds: list[Measured]) -> Measured:
    """The median of each value."""
    names = vars(rounds[0])
    return Measured(**{name: median(getattr(each, name) for each in rounds) for name in names})


def compare_imports(pythons: tuple[Path, Path], pair: tuple[App, App]) -> None:
    """Print how long fresh interpreters take to import the two apps."""
    seconds: dict[str, list[float]] = {each.name: [] for each in pair}
    for _ in range(IMPORTS):
        for python, each in zip(pythons, pair, strict=True):
            command = [python, "-c", IMPORT, str(each.folder)]
            done = subprocess.run(  # noqa: S603 - ourselves
                command, env={"PATH": "", **each.environment}, capture_output=True, check=True
            )
            seconds[each.name].append(float(done.stdout))
    ours, theirs = (median(seconds[each.name]) for each in pair)
    print(f"import of function_app  {ours / theirs:5.2f}  | {ours:.2f} s | {theirs:.2f} s")


@contextmanager
def storage(*, on_azurite: bool) -> Generator[tuple[str, Count]]:
    """The storage's connection string, and how many requests it had; 0 where it does not count."""
    if on_azurite:
        with tempfile.TemporaryDirectory() as folder, azurite(Path(folder), Path(folder)) as azure:
            yield azure.connection_string, lambda: 0
    else:
        with running("bench.table") as port, httpx.Client() as http:
            url = f"http://127.0.0.1:{port}/count"
            yield TABLE.format(port=port), lambda: int(http.get(url).text)


def our_app(name: str, folder: Path, url: str, connection_string: str) -> App:
    """The app as it is deployed, and its own limits out of the way."""
    environment = {
        "AzureWebJobsStorage": connection_string,
        "FOUNDRY_AGENT_SERVICE_ENDPOINT": url,
        "FOUNDRY_AGENT_SERVICE_API_KEY": API_KEY,
        "FOUNDRY_MODEL": MODEL,
        "MAX_THREADS_PER_MINUTE": "1000000",
    }
    return App(name, folder, environment, first_text=b"event: message.delta\ndata: ")


def ten_lines(url: str) -> App:
    """The function of ten lines."""
    environment: Mapping[str, str] = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": API_KEY}
    return App("ten lines", TEN_LINES, environment, first_text=b"data: ", has_threads=False)


async def run(
    pythons: tuple[Path, Path], pair: tuple[App, App], options: argparse.Namespace, count: Count
) -> None:
    """Print all rows."""
    print(f"ratios, then {pair[0].name} | {pair[1].name}; median of {options.rounds} rounds")
    compare_imports(pythons, pair)
    async with AsyncExitStack() as stack:
        ours, theirs = [
            await stack.enter_async_context(Served.running(app, python))
            for app, python in zip(pair, pythons, strict=True)
        ]
        for load in LOADS:
            if re.search(options.only, f"{load.name} c={load.in_flight}"):
                await compare(load, (ours, theirs), options.rounds, count)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench.app", description=__doc__)
    parser.add_argument("--beside", type=Path, help="folder of another checkout of the app")
    parser.add_argument("--azurite", action="store_true", help="store in Azurite")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="pattern of rows, such as 'JSON c=1$'")
    options = parser.parse_args()
    interpreter = find_python()
    if interpreter is None:
        print(f"skipped: there is no Python {DEPLOYED_VERSION} on PATH or among pyenv's versions")
        return 0
    deployed = with_requirements(interpreter)
    pythons = deployed, deployed if options.beside else with_packages(interpreter, OF_TEN_LINES)
    with upstream(delay=0.0) as url, storage(on_azurite=options.azurite) as (account, count):
        make = partial(our_app, url=url, connection_string=account)
        ours = make("this app", ROOT)
        other = make("the other", options.beside.resolve()) if options.beside else ten_lines(url)
        asyncio.run(run(pythons, (ours, other), options, count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
