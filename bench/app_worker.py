"""A function app under Microsoft's worker library, to be called from another process.

Runs on the interpreter that has the deployed packages. Prints one line when the app is ready: the
port of its HTTP server, and the port that takes invocations, which the Functions host sends over
gRPC: a line of JSON each, a function's name, an invocation's id, an address and its parameters. A
message of a queue is `DELIVER`, a function's name, an id and a text; its id comes back at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio import StreamReader, StreamWriter
from typing import Any

from tests.support.worker.functions_host import WorkerHost

LOOPBACK = "127.0.0.1"
DELIVER = "deliver"


async def main(app_directory: str) -> None:
    """Serve until the process is ended."""
    sys.path.insert(0, app_directory)  # before this repository, whose app has the same name
    host = await WorkerHost.start(app_directory)
    running: set[asyncio.Task[None]] = set()

    async def invoke(arguments: list[Any], writer: StreamWriter) -> None:
        if arguments[0] == DELIVER:
            try:
                await host.deliver(*arguments[1:])
            finally:
                writer.write(f"{arguments[2]}\n".encode())
        else:
            await host.invoke(*arguments)

    async def receive(reader: StreamReader, writer: StreamWriter) -> None:
        while line := await reader.readline():
            task = asyncio.create_task(invoke(json.loads(line), writer))
            running.add(task)
            task.add_done_callback(running.discard)

    server = await asyncio.start_server(receive, LOOPBACK, 0)
    http_port = host.capabilities["HttpUri"].rpartition(":")[2]
    print(http_port, server.sockets[0].getsockname()[1], flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the server logs requests; a pipe gets full
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
