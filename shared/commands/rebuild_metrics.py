"""`python -m shared.commands.rebuild_metrics 2026-03-01`: rebuild a day from its turn rows."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import date, timedelta

from ..app import Services
from ..config import AppSettings, SettingsError
from ..metering.roll_up import CannotRebuildError, Rebuilder
from ..state.errors import StateError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m shared.commands.rebuild_metrics",
        description="Rebuild the metrics and usage of a day (UTC) from turn rows. "
        "Needed after an instance was killed, which loses its last minute. It reads the settings "
        "of the app from the environment and may be stopped and run again at any time.",
    )
    parser.add_argument("day", type=date.fromisoformat, help="YYYY-MM-DD; must be over for 1 hour")
    parser.add_argument("--quiet", action="store_true", help="report no progress")
    given = parser.parse_args(arguments)
    try:
        turns = asyncio.run(_rebuild(given.day, quiet=given.quiet))
    except (SettingsError, StateError, CannotRebuildError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{given.day}: {turns} turns\n")
    return 0


async def _rebuild(day: date, *, quiet: bool) -> int:
    services = Services.connect(AppSettings.from_env())
    try:
        kept = services.core.settings.retention.turn_days
        if kept and day < services.core.clock().date() - timedelta(days=kept):
            raise CannotRebuildError(f"Turns are kept for {kept} days; those of {day} may be gone.")
        tables, clock = services.core.tables, services.core.clock
        rebuilder = Rebuilder(tables.state, tables.metrics, clock)
        return await rebuilder.day(day, _nothing if quiet else _say)
    finally:
        await services.aclose()


def _say(text: str) -> None:
    sys.stderr.write(f"\r{text}\x1b[K")
    sys.stderr.flush()


def _nothing(_: str) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
