"""Sends the probe app's requests through the worker library; prints what came as one document.

The library does not choose functions, the host does: each request goes to the function that the
local host's table names, with the parameters that it found.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from local.host.routing import RouteTable

from .functions_host import WorkerHost


async def main(app_directory: str, requests: list[str]) -> dict[str, Any]:
    """What the worker's functions answer, by request; None where no function fits."""
    sys.path.insert(0, app_directory)  # before this repository, whose app has the same name
    host = await WorkerHost.start(app_directory)
    try:
        table = RouteTable(map(host.function, host.functions), "api")
        return {request: await _answer(host, table, request) for request in requests}
    finally:
        await host.aclose()


async def _answer(host: WorkerHost, table: RouteTable, request: str) -> Any:
    method, path = request.split()
    match = table.match(method, path)
    if match is None:
        return None
    sent = f"{method} {path.removeprefix('/')}"
    answer = await host.call(match.function.name, sent, params=dict(match.path_params))
    return answer.json()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(str(Path(sys.argv[1])), sys.argv[2:]))))  # noqa: T201
