"""What the worker still holds after many turns: memory, file descriptors, connections.

`python -m bench.memory` sends turns of all kinds through Microsoft's worker library, where 4 % of
the requests to the upstream fail, and as many calls to a function that does nothing. The library
keeps about 2 KB of each call; that is measured and subtracted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter

from local.services import ROOT
from tests.support.environments import DEPLOYED_VERSION, find_python, with_requirements
from tests.support.waiting import eventually

from .app import our_app, storage
from .served import App, Served
from .upstream import FAULT_RATE, upstream

TURNS = 100_000
IN_FLIGHT = 32
WARM_UP_SHARE = 0.1
"""Of the turns, before the first measurement: caches fill, and the allocator takes its arenas."""

IDLE_SECONDS = 150.0
"""The most that idle connections may stay open; 30 to 60 s after the last metrics were written."""

MAX_GROWTH = 0.05
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LISTENING, ESTABLISHED = "0A", "01"
"""States in `/proc/PID/net/tcp`."""


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    memory: int
    """Resident bytes."""
    files: int
    """File descriptors, without connections."""
    connections: int
    """Established connections to other processes."""

    @classmethod
    def by(cls, process_id: int) -> Held:
        """Read what the kernel knows of a process."""
        process = Path(f"/proc/{process_id}")
        pages = int((process / "statm").read_text().split()[1])
        names = [_target(each) for each in (process / "fd").iterdir()]
        sockets = {name.removeprefix("socket:[").rstrip("]") for name in names if "socket" in name}
        rows = [line.split() for line in (process / "net/tcp").read_text().splitlines()[1:]]
        ours = [row for row in rows if row[9] in sockets]
        listening = {row[1] for row in ours if row[3] == LISTENING}
        connected = [row for row in ours if row[3] != LISTENING]
        outgoing = [r for r in connected if r[3] == ESTABLISHED and r[1] not in listening]
        return cls(pages * PAGE_BYTES, len(names) - len(connected), len(outgoing))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


async def send(served: Served, messages: int) -> Counter[str]:
    """Send messages of all kinds; returns how many ended how."""
    numbers, outcomes = count(), Counter[str]()

    async def keep_busy(place: int) -> None:
        while (number := next(numbers)) < messages:
            kind = number % 4
            try:
                await served.message(place, on_thread=kind in {1, 2}, streamed=kind == 3)
            except RuntimeError as error:
                outcomes[str(error).split(" ", 2)[1]] += 1
            else:
                outcomes["answered"] += 1

    await asyncio.gather(*(keep_busy(place) for place in range(IN_FLIGHT)))
    return outcomes


async def idle_seconds(served: Served) -> float:
    """Wait until all outgoing connections are closed; returns how long that took."""
    started = perf_counter()
    served.reconnect()
    with suppress(AssertionError):
        await eventually(lambda: not Held.by(served.process_id).connections, IDLE_SECONDS)
    return perf_counter() - started


@dataclass(frozen=True)
class Measured:
    """What an app held after the warm-up, and what at the end."""

    warm: Held
    end: Held
    turns: int
    """Between the two."""

    @property
    def growth(self) -> float:
        """Bytes of memory per turn."""
        return (self.end.memory - self.warm.memory) / self.turns


async def measure(app: App, python: Path, turns: int) -> Measured:
    """Send turns to an app."""
    warm_up = int(turns * WARM_UP_SHARE)
    async with Served.running(app, python) as served:
        if app.has_threads:
            await served.open_threads(IN_FLIGHT)
        await send(served, warm_up)
        await idle_seconds(served)
        warm = Held.by(served.process_id)
        outcomes = await send(served, turns - warm_up)
        busy = Held.by(served.process_id)
        idle = await idle_seconds(served)
        measured = Measured(warm, Held.by(served.process_id), turns - warm_up)
    ended = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
    end = measured.end
    print(
        f"{app.name:9} {_mb(warm.memory):6.1f} MB, then {_mb(end.memory):6.1f} MB: "
        f"{measured.growth / 1024:5.2f} KB a turn | {warm.files}, then {end.files} files | "
        f"connections: {busy.connections} busy, {end.connections} after {idle:.0f} s | {ended}",
        flush=True,
    )
    return measured


def _mb(size: float) -> float:
    return size / 1024 / 1024


async def run(python: Path, make: Callable[[], App], turns: int) -> int:
    """Measure both; 1 if this app holds more than it may."""
    no_op = App("no-op", ROOT / "bench" / "no_op", {}, first_text=b"{", has_threads=False)
    library = await measure(no_op, python, turns)
    ours = await measure(make(), python, turns)
    beyond = (ours.growth - library.growth) * ours.turns / ours.warm.memory
    files = ours.end.files - ours.warm.files
    print(
        f"beyond the library: memory {beyond:+.1%} in {ours.turns} turns, "
        f"files {files:+d}, connections left {ours.end.connections}"
    )
    return int(beyond > MAX_GROWTH or files > 0 or ours.end.connections > 0)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench.memory", description=__doc__)
    parser.add_argument("--turns", type=int, default=TURNS)
    options = parser.parse_args()
    interpreter = find_python()
    if interpreter is None:
        print(f"skipped: there is no Python {DEPLOYED_VERSION} on PATH or among pyenv's versions")
        return 0
    python = with_requirements(interpreter)
    with (
        upstream(delay=0.0, fault_rate=FAULT_RATE) as url,
        storage(on_azurite=False) as (account, _),
    ):
        return asyncio.run(
            run(python, lambda: our_app("this app", ROOT, url, account), options.turns)
        )


if __name__ == "__main__":
    sys.exit(main())
