"""What Application Insights gets, and with which identity: the real exporter, a local receiver."""

from __future__ import annotations

import gzip
import json
import logging
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from local.services import IDENTITY_HEADER, ROOT, FoundryEmulator
from shared.telemetry.exporting import is_worth_sending
from tests.identity.authority import make_certificate

INSTRUMENTATION_KEY = "00000000-0000-0000-0000-000000000001"

_APP = """
import asyncio, logging
from shared.config import TelemetrySettings
from shared.telemetry.exporting import flush_telemetry, start_telemetry
from shared.telemetry.log_ids import log_ids
from shared.telemetry.tracing import fail, span

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


@dataclass
class Received:
    """What arrived at the ingestion endpoint."""

    trusted: Path
    url: str = ""
    envelopes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    authorizations: set[str] = field(default_factory=set[str])

    def of(self, key: str, value: str) -> list[dict[str, Any]]:
        """The envelopes whose data have a value."""
        return [e for e in self.envelopes if e["data"]["baseData"].get(key) == value]


@pytest.fixture
def insights(tmp_path: Path) -> Iterator[Received]:
    """An ingestion endpoint on loopback, with TLS: tokens are sent over nothing less."""
    certificate = make_certificate(tmp_path)
    received = Received(trusted=certificate.path)

    class Ingest(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            items = json.loads(body) if "/track" in self.path else []
            received.envelopes += items
            received.authorizations.add(self.headers.get("Authorization", ""))
            answer = {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Ingest) as server:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate.combined_path)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        received.url = f"https://127.0.0.1:{server.server_port}/"
        Thread(target=server.serve_forever, daemon=True).start()
        yield received
        server.shutdown()


def test_spans_and_logs_arrive_with_their_ids_under_an_entra_identity(
    insights: Received, foundry: FoundryEmulator
) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "APPLICATIONINSIGHTS_CONNECTION_STRING": (
            f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={insights.url};"
            f"LiveEndpoint={insights.url}"
        ),
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorization=AAD",
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "IDENTITY_ENDPOINT": foundry.token_endpoint,
        "IDENTITY_HEADER": IDENTITY_HEADER,
        "OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage",
        "OTEL_TRACES_SAMPLER_ARG": "1.0",
        "REQUESTS_CA_BUNDLE": str(insights.trusted),
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
