"""What Application Insights gets, and with which identity: the real exporter, a local receiver."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from local.services import IDENTITY_HEADER, ROOT, FoundryEmulator
from shared.observability.export import is_worth_sending
from tests.support.insights import Received, environment_for, insights

__all__ = ["insights"]

_APP = """
import asyncio, logging
from shared.config import TelemetrySettings
from shared.observability.export import flush_telemetry, start_telemetry
from shared.observability.logs import log_ids
from shared.observability.tracing import fail, span

logging.basicConfig(level=logging.INFO)
thread = start_telemetry(TelemetrySettings.from_env())
thread.join()
said = {"enduser.id": "tid:oid", "gen_ai.usage.input_tokens": 7, "aos.domain": "law"}
with span("invoke_agent", said) as turn, log_ids(request_id="req_1"):
    fail(turn, "rate_limited")
    logging.getLogger("shared.turns").info("A turn was done")
    logging.getLogger("urllib3").info("noise")
asyncio.run(flush_telemetry())
"""


def test_spans_and_logs_arrive_with_their_ids_under_an_entra_identity(
    insights: Received, foundry: FoundryEmulator
) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        **environment_for(insights),
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorization=AAD",
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "IDENTITY_ENDPOINT": foundry.token_endpoint,
        "IDENTITY_HEADER": IDENTITY_HEADER,
        "WEBSITE_SITE_NAME": "func-agents",
    }
    done = subprocess.run(  # noqa: S603 - a fixed command
        [sys.executable, "-c", _APP],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (turn,) = insights.of("name", "invoke_agent")
    (logged,) = insights.of("message", "A turn was done")
    assert turn["data"]["baseType"] == "RemoteDependencyData"
    assert turn["tags"]["ai.user.authUserId"] == "tid:oid"
    properties = turn["data"]["baseData"]["properties"]
    assert properties["gen_ai.usage.input_tokens"] == "7"
    assert (properties["aos.domain"], properties["aos.error.code"]) == ("law", "rate_limited")
    assert turn["data"]["baseData"]["success"] is False
    assert {e["tags"]["ai.cloud.role"] for e in (turn, logged)} == {"func-agents"}
    assert logged["tags"]["ai.operation.id"] == turn["tags"]["ai.operation.id"]
    assert logged["data"]["baseData"]["properties"]["request_id"] == "req_1"
    assert insights.of("message", "noise") == []
    assert all(a.startswith("Bearer ") for a in insights.authorizations)


@pytest.mark.parametrize(
    ("logger", "level", "sent"),
    [
        ("shared.turns", logging.INFO, True),
        ("azure.core.pipeline", logging.INFO, False),
        ("asyncio", logging.ERROR, True),
        ("azure.monitor.opentelemetry.exporter.export", logging.ERROR, False),
    ],
)
def test_of_the_logs_of_others_only_warnings_are_sent(logger: str, level: int, sent: bool) -> None:
    record = logging.LogRecord(logger, level, __file__, 1, "text", None, None)
    assert is_worth_sending(record) is sent
