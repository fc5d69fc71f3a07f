"""Serves the app as Azure does: the host's routes and queues before Microsoft's worker library.

Runs on the interpreter that has `requirements.txt` and nothing else. Writes its address to a
file and serves until it is ended.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from azure.functions.queue import QueueMessage
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local.host.functions import HTTP_TRIGGER, QUEUE_TRIGGER, Function
from local.host.invocation import InvocationFailedError
from local.host.queues import POISON_SUFFIX, MessageHandler, QueueListener
from local.host.routing import RouteTable
from local.host.settings import HostSettings, read_host_settings
from local.host.storage import QueueAccounts

from .functions_host import LOOPBACK, WorkerError, WorkerHost

ACCESS_KEY = "x-functions-key"
NOT_SENT_ON = {b"content-length", b"transfer-encoding", b"connection", b"date", b"server"}


class FrontEnd:
    """The host's HTTP front end: finds the function, checks the key, and sends the request on."""

    def __init__(self, host: WorkerHost, settings: HostSettings, function_key: str) -> None:
        self._routes = RouteTable(_with_trigger(host, HTTP_TRIGGER), settings.route_prefix)
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


def _with_trigger(host: WorkerHost, trigger_type: str) -> list[Function]:
    functions = map(host.function, host.functions)
    return [each for each in functions if each.trigger_type == trigger_type]


def _queues(
    host: WorkerHost, accounts: QueueAccounts, settings: HostSettings
) -> Iterator[QueueListener]:
    for function in _with_trigger(host, QUEUE_TRIGGER):
        service = accounts.service(str(function.trigger["connection"]))
        name = str(function.trigger["queueName"])
        poison = (
            None if name.endswith(POISON_SUFFIX) else service.get_queue_client(name + POISON_SUFFIX)
        )
        handler = _message_handler(host, function.name)
        yield QueueListener(service.get_queue_client(name), poison, handler, settings.queues)


def _message_handler(host: WorkerHost, function_name: str) -> MessageHandler:
    async def handle(message: QueueMessage) -> None:
        text, deliveries = message.get_body().decode(), message.dequeue_count or 1
        try:
            await host.deliver(function_name, message.id or "", text, deliveries)
        except WorkerError as error:
            raise InvocationFailedError from error

    return handle


async def main(app_directory: str, function_key: str, address_file: str) -> None:
    """Serve until the process is ended."""
    host = await WorkerHost.start(app_directory)
    settings = read_host_settings(Path(app_directory) / "host.json", {})
    accounts, stopping = QueueAccounts(os.environ), asyncio.Event()
    queues = [each.run(stopping) for each in _queues(host, accounts, settings)]
    listening = asyncio.gather(*queues)
    front = FrontEnd(host, settings, function_key)
    config = uvicorn.Config(front, host=LOOPBACK, port=0, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    Path(address_file).write_text(f"http://{LOOPBACK}:{port}")  # noqa: ASYNC240 - once, at start
    await serving
    stopping.set()
    await listening
    await accounts.aclose()
    await host.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
