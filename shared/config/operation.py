"""Settings of operation: limits for each owner, the console, and telemetry."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import Env, Settings
from .identity import GUID
from .rules import matching, rule

_insights = matching(rf"(.*;)?\s*InstrumentationKey={GUID}(;.*)?", "the one that Azure shows")


class LimitSettings(Settings):
    """How much of one instance an owner may take at once; beyond, requests are refused with 429."""

    requests: Annotated[int, Env("MAX_REQUESTS_PER_OWNER", "2500")] = Field(default=2_500, ge=1)
    """Requests of one owner that an instance answers at once. With function keys, all callers are
    one owner."""

    waits: Annotated[int, Env("MAX_WAITS_PER_OWNER", "500")] = Field(default=500, ge=1)
    """Requests of one owner with `wait` that an instance holds at once."""

    threads_per_minute: Annotated[int, Env("MAX_THREADS_PER_MINUTE", "1000")] = Field(
        default=1_000, ge=1
    )
    """Threads that an instance starts for one owner within a minute, conversations and those of
    jobs submitted over HTTP included."""


class ConsoleSettings(Settings):
    """The web console."""

    is_on: Annotated[bool, Env("CONSOLE", "on")] = False
    """Serve the web console at `/console`. `make run` turns it on."""


class TelemetrySettings(Settings):
    """Where traces and logs go."""

    connection_string: Annotated[
        str,
        rule(_insights),
        Env("APPLICATIONINSIGHTS_CONNECTION_STRING", "InstrumentationKey=<GUID>"),
    ] = ""
    """Application Insights that traces and logs are sent to. Empty: nowhere."""

    site_name: Annotated[str, Env("WEBSITE_SITE_NAME")] = ""
    """Set by Azure to the app's name, which is the service name in telemetry."""
