"""A directory on loopback that speaks the part of Microsoft Graph that the script uses.

Like the real one it is late: what was made is not found by the next calls that refer to it.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]

_PREFIX = "/v1.0"
_CAST = "microsoft.graph.agentIdentity"
TOKEN = "a-token"


@dataclass
class Directory:
    """The state of the fake."""

    url: str = ""
    blueprints: list[Json] = field(default_factory=list)
    principals: list[Json] = field(default_factory=list)
    identities: list[Json] = field(default_factory=list)
    credentials: list[Json] = field(default_factory=list)
    calls: list[tuple[str, str, Json]] = field(default_factory=list)
    failures: list[tuple[int, Json]] = field(default_factory=list)
    """Answers to give before any other, first come first served."""
    lag: int = 0
    """How many calls that refer to a new object are told that it does not exist."""
    page_size: int = 2

    @property
    def writes(self) -> list[str]:
        """The calls that changed something, or tried to."""
        return [f"{method} {path}" for method, path, _ in self.calls if method != "GET"]

    def answer(self, method: str, path: str, query: dict[str, str], body: Json) -> tuple[int, Json]:
        """Serve one call."""
        self.calls.append((method, path, body))
        if self.failures:
            return self.failures.pop(0)
        if method == "GET":
            return self._get(path, query)
        if method == "DELETE":
            return self._delete(path.rpartition("/")[2])
        if self.lag and path != f"/applications/{_CAST}Blueprint":
            self.lag -= 1
            return _error(404, "Request_ResourceNotFound", "Resource does not exist or ...")
        return self._write(method, path, body)

    def _get(self, path: str, query: dict[str, str]) -> tuple[int, Json]:
        if match := re.fullmatch(r"/applications\(appId='(.+)'\)/.+Blueprint", path):
            return _one(self.blueprints, match[1])
        if match := re.fullmatch(r"/servicePrincipals\(appId='(.+)'\)", path):
            return _one(self.principals, match[1])
        if path == f"/applications/{_CAST}Blueprint":
            name = query["$filter"].removeprefix("displayName eq '").removesuffix("'")
            name = name.replace("''", "'")
            return 200, {"value": [b for b in self.blueprints if b["displayName"] == name]}
        if path == f"/servicePrincipals/{_CAST}":
            return self._page(self.identities, path, query)
        if path.endswith("/federatedIdentityCredentials"):
            return 200, {"value": self.credentials}
        return _error(400, "BadRequest", path)

    def _page(self, items: list[Json], path: str, query: dict[str, str]) -> tuple[int, Json]:
        start = int(query.get("$skip", 0))
        page: Json = {"value": items[start : start + self.page_size]}
        if start + self.page_size < len(items):
            page["@odata.nextLink"] = f"{self.url}{path}?$skip={start + self.page_size}"
        return 200, page

    def _write(self, method: str, path: str, body: Json) -> tuple[int, Json]:
        made = {"id": str(uuid.uuid4()), "appId": str(uuid.uuid4()), **body}
        if path == f"/applications/{_CAST}Blueprint":
            self.blueprints.append(made)
        elif path == f"/servicePrincipals/{_CAST}BlueprintPrincipal":
            self.principals.append(made)
        elif path == f"/servicePrincipals/{_CAST}":
            if not self.principals:
                return _error(400, "AgentBlueprintPrincipalDoesNotExist", "No principal")
            made["appId"] = made["id"]  # an agent identity has no application of its own
            self.identities.append(made)
        elif method == "PATCH":
            next(c for c in self.credentials if path.endswith(c["id"])).update(body)
            return 204, {}
        else:
            self.credentials.append(made)
        return 201, made

    def _delete(self, object_id: str) -> tuple[int, Json]:
        for objects in (self.identities, self.blueprints):
            objects[:] = [each for each in objects if each["id"] != object_id]
        return 204, {}


@contextmanager
def fake_graph() -> Iterator[Directory]:
    """Serve an empty directory; `url` is what `--graph-url` takes."""
    directory = Directory()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve()

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 (http.server's names)

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            path = parts.path.removeprefix(_PREFIX)
            if self.headers["Authorization"] == f"Bearer {TOKEN}":
                status, answer = directory.answer(self.command, path, query, body)
            else:
                status, answer = _error(401, "InvalidAuthenticationToken", "Whose token is this?")
            content = json.dumps(answer).encode() if answer else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("request-id", "a-request")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        directory.url = f"http://127.0.0.1:{server.server_port}{_PREFIX}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield directory
        finally:
            server.shutdown()
            thread.join()


def _one(objects: list[Json], app_id: str) -> tuple[int, Json]:
    for each in objects:
        if each["appId"] == app_id:
            return 200, each
    return _error(404, "Request_ResourceNotFound", "Resource does not exist")


def _error(status: int, code: str, message: str) -> tuple[int, Json]:
    return status, {"error": {"code": code, "message": message}}
