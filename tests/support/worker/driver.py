"""Drives the app under the worker library and prints what came of it as one JSON document.

Runs on the interpreter that has `requirements.txt` and nothing else, as in Azure.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
from azure.storage.queue import TextBase64DecodePolicy
from azure.storage.queue.aio import QueueClient

from local.host.routing import RouteTable

from .functions_host import WorkerHost

CATCH_ALL = "z_unmatched_sorts_last"
OF_THE_PLATFORM = ("", "admin/host/status", "runtime/webhooks/x", ".auth/me")
ODD_PATHS = {"line_break": "a%0Ab", "controls": "%04%0A%0D%C3%9E", "slashes": "//a%2Fb/"}
ODD_PATH_SECONDS = 20
WORKERS_OWN = ("docs", "docs/oauth2-redirect", "redoc", "openapi.json")


async def main(app_directory: str) -> dict[str, Any]:
    """Index the app, then call it over HTTP and from its queues."""
    host = await WorkerHost.start(app_directory)
    try:
        return {
            "python": sys.version_info[:2],
            "capabilities": host.capabilities,
            "bindings": {name: host.bindings(name) for name in host.functions},
            "http": {name: _document(answer) for name, answer in (await _http(host)).items()},
            "job": await _job(host),
            "own_pages": {path: await host.page(path) for path in WORKERS_OWN},
            "fitting": _fitting(host, Path(app_directory)),
        }
    finally:
        await host.aclose()


async def _http(host: WorkerHost) -> dict[str, httpx.Response]:
    answers = {
        "health": await host.call("health", "GET api/health"),
        "message": await host.call("send_message", "POST api/messages", {"message": "Hello"}),
        "thread": await host.call("create_thread", "POST api/threads", {}),
        "unknown": await host.call(CATCH_ALL, "GET api/no/such", params={"path": "no/such"}),
    }
    async with asyncio.timeout(ODD_PATH_SECONDS):
        for name, path in ODD_PATHS.items():
            answers[name] = await host.call(CATCH_ALL, f"GET api/{path}", params={"path": path})
    thread_id: str = answers["thread"].json()["thread_id"]
    path, params = f"api/threads/{thread_id}", {"thread_id": thread_id}
    for name, text in (("first", "My name is Ada."), ("second", "What is my name?")):
        answers[name] = await host.call(
            "send_thread_message", f"POST {path}/messages", {"message": text}, params
        )
    answers["read"] = await host.call("get_thread", f"GET {path}", params=params)
    return answers


async def _job(host: WorkerHost) -> Any:
    """Put a job on the intake, carry the wake-up it leaves to the lane, and read the job."""
    job_id = "job_01HZZZZZZZZZZZZZZZZZZZZZZZ"
    job = {"owner": "key", "job_id": job_id, "messages": ["My name is Bo.", "What is my name?"]}
    await host.deliver("receive_job", "message-1", json.dumps(job))
    async with QueueClient.from_connection_string(
        os.environ["AzureWebJobsStorage"],  # noqa: SIM112 - named by Azure
        os.environ["LANES_QUEUE_NAME"],
        message_decode_policy=TextBase64DecodePolicy(),
    ) as lanes:
        wake_up = await lanes.receive_message()
        if wake_up is None:
            raise LookupError("the intake left no wake-up")
        await host.deliver("run_lane", wake_up.id, str(wake_up.content))
    answer = await host.call("get_job", f"GET api/jobs/{job_id}", params={"job_id": job_id})
    return answer.json()


def _fitting(host: WorkerHost, app_directory: Path) -> list[str]:
    """The functions that fit an address which the worker or the platform answers itself."""
    prefix = json.loads((app_directory / "host.json").read_text())["extensions"]["http"]
    http = [f for f in map(host.function, host.functions) if f.trigger_type == "httpTrigger"]
    table = RouteTable(http, prefix["routePrefix"])
    found = (table.match("GET", f"/{path}") for path in (*WORKERS_OWN, *OF_THE_PLATFORM))
    return [match.function.name for match in found if match]


def _document(answer: httpx.Response) -> dict[str, Any]:
    return {
        "status": answer.status_code,
        "type": answer.headers.get("content-type"),
        "body": answer.json(),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))  # noqa: T201 - the driver's answer
