"""Serves the app over HTTP as Azure does: the host's routes before Microsoft's worker library.

Runs on the interpreter that has `requirements.txt` and nothing else. Writes its address to a
file and serves until it is ended.
"""

import asyncio
import json
import sys
from pathlib import Path

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local.host.routing import RouteTable

from .functions_host import LOOPBACK, WorkerHost

ACCESS_KEY = "x-functions-key"
NOT_SENT_ON = {b"content-length", b"transfer-encoding", b"connection", b"date", b"server"}


class FrontEnd:
    """The host's HTTP front end: finds the function, checks the key, and sends the request on."""

    def __init__(self, host: WorkerHost, app_directory: Path, function_key: str) -> None:
        settings = json.loads((app_directory / "host.json").read_text())["extensions"]["http"]
        functions = [host.function(name) for name in host.functions]
        http = [each for each in functions if each.trigger_type == "httpTrigger"]
        self._routes = RouteTable(http, settings["routePrefix"])
        self._host = host
        self._key = function_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            request = Request(scope, receive)
            response = await self._answer(request)
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        raw_path = request.scope["raw_path"].decode("latin-1").partition("?")[0]
        match = self._routes.match(request.method, raw_path)
        if match is None:
            return Response(status_code=404)
        if str(match.function.trigger["authLevel"]).lower().endswith("function"):
            given = request.headers.get(ACCESS_KEY) or request.query_params.get("code")
            if given != self._key:
                return Response(status_code=401)
        answer = await self._host.forward(match.function.name, request, dict(match.path_params))
        response = Response(answer.content, answer.status_code)
        response.raw_headers = [
            (name.lower(), value)
            for name, value in answer.headers.raw
            if name.lower() not in NOT_SENT_ON
        ]
        response.raw_headers.append((b"content-length", str(len(answer.content)).encode()))
        return response


async def main(app_directory: str, function_key: str, address_file: str) -> None:
    """Serve until the process is ended."""
    host = await WorkerHost.start(app_directory)
    front = FrontEnd(host, Path(app_directory), function_key)
    config = uvicorn.Config(front, host=LOOPBACK, port=0, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    Path(address_file).write_text(f"http://{LOOPBACK}:{port}")  # noqa: ASYNC240 - once, at start
    await serving
    await host.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
