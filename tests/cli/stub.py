"""A server that answers as it is told, where the app would have to be broken."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

JSON = "application/json"


@dataclass(frozen=True)
class Said:
    """An answer; without a length it ends with the connection."""

    status: int
    body: bytes
    media_type: str = JSON
    missing_bytes: int = 0
    """How many bytes of the announced length do not come."""


@dataclass
class Stub:
    """The server's address and what it was asked."""

    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])


@contextmanager
def answering(answers: Mapping[str, Said]) -> Generator[Stub]:
    """Serve answers by path."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stub.headers.append(dict(self.headers.items()))
            said = answers[self.path.partition("?")[0].removeprefix("/api/")]
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(said.status)
            self.send_header("content-type", said.media_type)
            self.send_header("content-length", str(len(said.body) + said.missing_bytes))
            self.end_headers()
            self.wfile.write(said.body)

        do_POST = do_GET  # noqa: N815 - the names that the server looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
