"""A reverse proxy before a storage service that counts what the app sends, on the wire."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.processes import free_port

from .waiting import eventually

_METHODS = ["GET", "POST", "PUT", "PATCH", "MERGE", "DELETE"]
_HOP_BY_HOP = {"connection", "content-length", "keep-alive", "transfer-encoding"}


class StorageMeter:
    """Counts the transactions of one storage service: requests, a batch being one."""

    def __init__(self, upstream_port: int) -> None:
        self.port = free_port()
        self.transactions: list[str] = []
        """Method and path of each, in order."""
        self.calls: list[str] = []
        """Method, path and query of each."""
        self._upstream = f"http://127.0.0.1:{upstream_port}"
        self._http = httpx.AsyncClient(timeout=30)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["StorageMeter"]:
        """Serve on `port`."""
        routes = [Route("/{path:path}", self._forward, methods=_METHODS)]
        config = uvicorn.Config(
            Starlette(routes=routes),
            port=self.port,
            log_config=None,
            date_header=False,
            server_header=False,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        await eventually(lambda: server.started)
        yield self
        server.should_exit = True
        await serving
        await self._http.aclose()

    async def _forward(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii")
        self.transactions.append(f"{request.method} {path}")
        query = request.scope["query_string"].decode("ascii")
        self.calls.append(f"{request.method} {path}?{query}")
        answer = await self._http.request(
            request.method,
            f"{self._upstream}{path}?{query}" if query else self._upstream + path,
            content=await request.body(),
            headers={k: v for k, v in request.headers.items() if k not in _HOP_BY_HOP},
        )
        headers = {k: v for k, v in answer.headers.items() if k not in _HOP_BY_HOP}
        return Response(answer.content, answer.status_code, headers)
