"""An ingestion endpoint of Application Insights on this machine."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from .authority import make_certificate

INSTRUMENTATION_KEY = "00000000-0000-0000-0000-000000000001"


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


def environment_for(insights: Received) -> dict[str, str]:
    """Settings that send all telemetry there."""
    return {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": (
            f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={insights.url};"
            f"LiveEndpoint={insights.url}"
        ),
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage",
        "OTEL_TRACES_SAMPLER_ARG": "1.0",
        "REQUESTS_CA_BUNDLE": str(insights.trusted),
    }
