"""The Functions host's side of Microsoft's worker library, in one process with it.

As in Azure, an HTTP request reaches the app twice: over HTTP at the worker's own server, with an
invocation id in a header, and as an InvocationRequest with the same id, which starts the function.
"""

import asyncio
import importlib
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

import httpx
from starlette.requests import Request

from local.host.functions import Function

from .worker_messages import (
    Message,
    ParameterBinding,
    from_proxy,
    http_input,
    invocation,
    queue_input,
)

LOOPBACK = "127.0.0.1"
SUCCESS = 1
NOT_SENT_ON = {
    b"host",
    b"connection",
    b"transfer-encoding",
    b"content-length",
    b"accept-encoding",
    b"x-ms-invocation-id",
}
CONNECT_RETRIES = 5
IDLE_SECONDS = 2
"""Shorter than the worker keeps idle connections, so that none is closed while it is used."""


class WorkerError(Exception):
    """The library answered with a failure; the text is its own."""


class WorkerHost:
    """Speaks to the library as the proxy worker does on the host's behalf."""

    def __init__(self, library: Any, capabilities: Mapping[str, str], functions: list[Any]) -> None:
        self._library = library
        self.capabilities = capabilities
        self.functions = {str(function.name): function for function in functions}
        self._http = httpx.AsyncClient(
            base_url=capabilities["HttpUri"],
            timeout=30,
            limits=httpx.Limits(keepalive_expiry=IDLE_SECONDS),
            # The worker announces its server before that listens.
            transport=httpx.AsyncHTTPTransport(retries=CONNECT_RETRIES),
        )

    @classmethod
    async def start(cls, app_directory: str) -> Self:
        """Let the library initialise, index and load the app."""
        library = importlib.import_module("azure_functions_runtime")
        request = Message(capabilities={}, function_app_directory=app_directory)
        started = _checked(
            await library.worker_init_request(from_proxy(LOOPBACK, worker_init_request=request))
        )
        indexed = _checked(await library.functions_metadata_request(from_proxy(LOOPBACK)))
        functions: list[Any] = indexed.function_metadata_results
        for function in functions:
            load = Message(function_id=function.function_id)
            _checked(
                await library.function_load_request(
                    from_proxy(LOOPBACK, function_load_request=load)
                )
            )
        return cls(library, started.capabilities, functions)

    @staticmethod
    def app_module() -> Any:
        """The app as the library has loaded it."""
        return importlib.import_module("function_app")

    def bindings(self, function_name: str) -> list[dict[str, Any]]:
        """The bindings of a function as the host reads them."""
        raw: list[str] = self.functions[function_name].raw_bindings
        return [json.loads(binding) for binding in raw]

    def function(self, name: str) -> Function:
        """A function as the local host's route table takes it."""
        trigger = self.bindings(name)[0]
        return Function(name, print, trigger["type"], trigger, ".", takes_context=False)

    async def call(
        self,
        function_name: str,
        request: str,
        body: Any = None,
        params: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send ``METHOD path`` to a function; ``params`` are those of its route."""
        method, path = request.split()
        invocation_id = str(uuid.uuid4())
        headers = {"x-ms-invocation-id": invocation_id}
        url = f"{self._http.base_url}{path}"
        answer, _ = await asyncio.gather(
            self._http.request(method, path, json=body, headers=headers),
            self.invoke(function_name, invocation_id, f"{method} {url}", params or {}),
        )
        return answer

    async def invoke(
        self, function_name: str, invocation_id: str, request: str, params: dict[str, str]
    ) -> None:
        """Start a function for an HTTP request with this invocation id, ``METHOD url``."""
        method, url = request.split()
        given = http_input("req", method, url, params)
        await self._invoke(function_name, invocation_id, given, {})

    async def forward(
        self, function_name: str, request: Request, params: dict[str, str]
    ) -> httpx.Response:
        """Send a caller's request to a function, as the host's proxy does."""
        invocation_id = str(uuid.uuid4())
        headers = [(name, value) for name, value in request.headers.raw if name not in NOT_SENT_ON]
        headers += [
            (b"x-ms-invocation-id", invocation_id.encode()),
            (b"x-forwarded-host", request.headers.get("host", "").encode("latin-1")),
            (b"x-forwarded-proto", b"http"),
            (b"accept-encoding", b"identity"),
        ]
        raw_path, query = request.scope["raw_path"], request.scope["query_string"]
        target = raw_path.partition(b"?")[0] + (b"?" + query if query else b"")
        url = self._http.base_url.copy_with(raw_path=target)
        binding = http_input("req", request.method, str(url), params)
        answer, _ = await asyncio.gather(
            self._http.request(request.method, url, content=await request.body(), headers=headers),
            self._invoke(function_name, invocation_id, binding, {}),
        )
        return answer

    async def page(self, path: str) -> int:
        """The status of a page at the worker's own server, asked for without an invocation."""
        return (await self._http.get(path)).status_code

    async def deliver(
        self, function_name: str, message_id: str, text: str, deliveries: int = 1
    ) -> None:
        """Give a queue message to a function."""
        metadata = {
            "Id": Message(string=message_id),
            "DequeueCount": Message(json=str(deliveries)),
            "InsertionTime": Message(json=json.dumps(datetime.now(UTC).isoformat())),
        }
        await self._invoke(function_name, str(uuid.uuid4()), queue_input("msg", text), metadata)

    async def _invoke(
        self,
        function_name: str,
        invocation_id: str,
        given: ParameterBinding,
        metadata: dict[str, Message],
    ) -> None:
        function_id = self.functions[function_name].function_id
        request = invocation(function_id, invocation_id, given, metadata)
        _checked(
            await self._library.invocation_request(from_proxy(LOOPBACK, invocation_request=request))
        )

    async def aclose(self) -> None:
        """Close the connections to the worker."""
        await self._http.aclose()


def _checked(answer: Any) -> Any:
    if answer.result.status != SUCCESS:
        failure = answer.result.exception
        raise WorkerError(f"{failure.message}\n{failure.stack_trace}")
    return answer
