"""Timer triggers: NCRONTAB with seconds, or a time span."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

from azure.functions.timer import TimerRequest
from cronsim import CronSim, CronSimError

from local.host.functions import Function
from local.host.invocation import Cause, InvocationFailedError, Invoker
from local.host.settings import HostConfigurationError, substitute_settings, time_span

logger = logging.getLogger("local.host")


class Schedule(Protocol):
    """When a timer is due."""

    def next_after(self, moment: datetime) -> datetime:
        """Return the first due time later than `moment` (UTC)."""
        ...


class CronSchedule:
    """`{second} {minute} {hour} {day} {month} {day-of-week}`; five fields mean second 0."""

    def __init__(self, expression: str) -> None:
        self._expression = expression if len(expression.split()) == 6 else f"0 {expression}"
        try:
            self.next_after(datetime.now(UTC))
        except CronSimError as error:
            raise HostConfigurationError(
                f"'{expression}' is not an NCRONTAB expression: {error}"
            ) from error

    def next_after(self, moment: datetime) -> datetime:
        """Return the first due time later than `moment` (UTC)."""
        return next(CronSim(self._expression, moment))


class IntervalSchedule:
    """A fixed interval, as a time span."""

    def __init__(self, interval: timedelta) -> None:
        if interval <= timedelta():
            raise HostConfigurationError("a timer's time span must be longer than zero.")
        self._interval = interval

    def next_after(self, moment: datetime) -> datetime:
        """Return `moment` plus the interval."""
        return moment + self._interval


def parse_schedule(text: str, environment: Mapping[str, str]) -> Schedule:
    """Parse the schedule of a timer trigger, `%SETTING%` included."""
    expression = substitute_settings(text, environment).strip()
    if " " not in expression and ":" in expression:
        return IntervalSchedule(time_span(expression))
    return CronSchedule(expression)


class TimerListener:
    """Runs one timer function when it is due, one run at a time."""

    def __init__(
        self, function: Function, invoker: Invoker, environment: Mapping[str, str]
    ) -> None:
        self.function = function
        self._invoker = invoker
        self._schedule = parse_schedule(str(function.trigger["schedule"]), environment)
        self._last: datetime | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Run until `stopping` is set; a run that has started is finished."""
        if self.function.trigger.get("runOnStartup"):
            await self.fire()
        due = self._schedule.next_after(datetime.now(UTC))
        while not await _is_set_before(stopping, due):
            await self.fire()
            due = self._schedule.next_after(due)
            if due <= datetime.now(UTC) and not stopping.is_set():
                # The run lasted beyond the next due time: run once more at once, as the host does.
                await self.fire(past_due=True)
                due = self._schedule.next_after(datetime.now(UTC))

    async def fire(self, *, past_due: bool = False) -> None:
        """Run the function now, due or not."""
        now = datetime.now(UTC)
        following = self._schedule.next_after(now)
        status = {
            "Last": (self._last or now).isoformat(),
            "LastUpdated": (self._last or now).isoformat(),
            "Next": following.isoformat(),
        }
        request = TimerRequest(
            past_due=past_due, schedule_status=status, schedule={"AdjustForDST": True}
        )
        self._last = now
        try:
            await self._invoker.invoke(self.function, request, Cause("timer"))
        except InvocationFailedError:
            logger.warning("%s runs again at %s", self.function.name, following.isoformat())


async def _is_set_before(stopping: asyncio.Event, due: datetime) -> bool:
    """Wait until `due`; return whether `stopping` was set before."""
    while (seconds := (due - datetime.now(UTC)).total_seconds()) > 0:
        try:
            await asyncio.wait_for(stopping.wait(), seconds)
        except TimeoutError:
            continue
        return True
    return stopping.is_set()
