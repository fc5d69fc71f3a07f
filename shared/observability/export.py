"""Exports traces and logs to Application Insights, if a connection string is set.

The exporter reads its identity from APPLICATIONINSIGHTS_AUTHENTICATION_STRING, as the Functions
host does. Importing it takes longer than importing the app, so it starts in its own thread: an
instance serves requests at once, but the traces of its first seconds are not exported.
https://learn.microsoft.com/azure/azure-monitor/app/opentelemetry-configuration
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from threading import Thread

from azurefunctions.extensions.http.fastapi import web
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace

from ..config import TelemetrySettings
from .logs import LogIdsFilter, WithoutTexts, add_ids_to_logs, keep_texts_out_of_logs

log = logging.getLogger(__name__)

FLUSH_MILLISECONDS = 5_000

OURS = __name__.partition(".")[0]
"""The app's package, whose logs are all exported; those of other packages from WARNING on."""

_NEVER_SENT = ("azure.monitor", "opentelemetry")
"""Loggers of the exporter itself: its failures cannot be exported."""

_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
}

_INSTRUMENTATIONS = (
    "azure_sdk",
    "django",
    "fastapi",
    "flask",
    "httpx",
    "psycopg2",
    "requests",
    "urllib",
    "urllib3",
)
"""All disabled: the app has its own spans, and those of the Azure SDK contain table keys."""


def start_telemetry(settings: TelemetrySettings, *, record_content: bool = True) -> Thread | None:
    """Add ids to the logs, and start exporting if a connection string is set; returns the thread.

    Without ``record_content``, exceptions are logged and exported without their texts.
    """
    add_ids_to_logs()
    if not record_content:
        keep_texts_out_of_logs()
    keep_fastapi_quiet()
    if not settings.connection_string:
        return None
    thread = Thread(
        target=_start, args=(settings, record_content), name="telemetry-start", daemon=True
    )
    thread.start()
    return thread


def keep_fastapi_quiet() -> None:
    """Turn off the spans of the worker's own server; call it before the server is built.

    The worker library serves all requests with one FastAPI app, and FastAPI's own spans contain the
    whole URL, including keys and filters in the query. Each request already has a span of the app.
    """
    web.FastAPI = partial(FastAPI, telemetry=_NO_TELEMETRY)


def _start(settings: TelemetrySettings, record_content: bool) -> None:
    from azure.monitor.opentelemetry import (
        configure_azure_monitor,  # pyright: ignore[reportUnknownVariableType] - untyped kwargs
    )
    from opentelemetry.sdk.resources import Resource

    options = {name: {"enabled": False} for name in _INSTRUMENTATIONS}
    resource = Resource({"service.name": settings.site_name} if settings.site_name else {})
    try:
        configure_azure_monitor(
            connection_string=settings.connection_string,
            instrumentation_options=options,
            resource=resource,
            enable_live_metrics=False,  # its samples hold URLs
        )
    except Exception:  # the app runs on without telemetry
        log.exception("Telemetry is not sent: check APPLICATIONINSIGHTS_CONNECTION_STRING")
        return
    for handler in logging.getLogger().handlers:
        if type(handler).__module__.startswith("opentelemetry."):
            handler.addFilter(is_worth_sending)
            handler.addFilter(LogIdsFilter())
            if not record_content:
                handler.addFilter(WithoutTexts())


def is_worth_sending(record: logging.LogRecord) -> bool:
    """Whether a log record is exported: those of the app, and warnings of other packages."""
    if record.name.startswith(_NEVER_SENT):
        return False
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == OURS


async def flush_telemetry() -> None:
    """Export the pending spans, before the process ends."""
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        await asyncio.to_thread(flush, FLUSH_MILLISECONDS)
