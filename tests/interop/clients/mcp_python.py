"""The official `mcp` package: every tool in both kinds of revisions, as a stream and as JSON."""

import asyncio
import contextlib
import json
import sys

import httpx2
from asked import BASE_URL, KEY, NAME, POOR_KEY, RECALL, WORDS, WRONG_KEY, Report
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

URL = BASE_URL.replace("/v1", "/mcp")
MODES = {"2026-07-28": "auto", "2025-11-25": "legacy"}
LATER = "2100-01-01T00:00:00Z"


class Connected:
    """A client, and what went over its connection."""

    def __init__(self, revision: str, key: str, *, streams: bool = True) -> None:
        self.media_types = set()
        self.statuses = set()
        self.progress = []
        self._accept = None if streams else "application/json"
        headers = {"Authorization": f"Bearer {key}"}
        hooks = {"request": [self._ask], "response": [self._see]}
        self._http = httpx2.AsyncClient(headers=headers, timeout=60, event_hooks=hooks)
        transport = streamable_http_client(URL, http_client=self._http)
        self.client = Client(transport, mode=MODES[revision])

    async def __aenter__(self) -> "Connected":
        await self._http.__aenter__()
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.client.__aexit__(*error)
        await self._http.__aexit__(*error)

    async def _ask(self, request: httpx2.Request) -> None:
        if self._accept:
            request.headers["accept"] = self._accept

    async def _see(self, response: httpx2.Response) -> None:
        self.statuses.add(response.status_code)
        self.media_types.add(response.headers.get("content-type", "").partition(";")[0])

    async def _report(self, progress: float, _total: float | None, message: str | None) -> None:
        self.progress.append((progress, message))

    async def call(self, tool: str, **arguments: object) -> dict:
        """The structured content, which the client has checked by the schema of the tool."""
        result = await self.send(tool, **arguments)
        assert not result.is_error, result
        assert json.loads(result.content[0].text) == result.structured_content
        return result.structured_content

    async def send(self, tool: str, **arguments: object) -> CallToolResult:
        """A call as it is answered."""
        return await self.client.call_tool(tool, arguments, progress_callback=self._report)


async def used(revision: str, *, streams: bool) -> Report:
    """Call every tool."""
    async with Connected(revision, KEY, streams=streams) as app:
        tools = (await app.client.list_tools()).tools
        thread = (await app.call("start_thread", metadata={"a": "b"}))["thread_id"]
        await app.call("ask_agent", message=NAME, thread_id=thread)
        recalled = await app.call("ask_agent", message=RECALL, thread_id=thread)
        keyed = {"message": WORDS, "idempotency_key": f"{thread} {streams}"}
        turns = [await app.call("ask_agent", **keyed) for _ in range(2)]
        history = await app.call("get_messages", thread_id=thread)
        threads = await app.call("list_threads", metadata={"a": "b"})
        job = (await app.call("submit_job", message=WORDS))["job_id"]
        while not (ended := await app.call("get_job", job_id=job, wait=10))["finished_at"]:
            pass
        later = (await app.call("submit_job", message=WORDS, not_before=LATER))["job_id"]
        cancelled = await app.call("cancel_job", job_id=later)
        jobs = await app.call("list_jobs", status="succeeded")
        usage = await app.call("usage", by=["model"])
        refused = await app.send("get_job", job_id="job_" + "0" * 26)
        return {
            "revision": app.client.protocol_version,
            "tools": [tool.name for tool in tools],
            "content": recalled["content"],
            "turns_of_a_key": len({turn["turn_id"] for turn in turns}),
            "messages": len(history["data"]),
            "thread_is_listed": thread in [each["thread_id"] for each in threads["data"]],
            "job": ended["status"],
            "job_is_listed": job in [each["job_id"] for each in jobs["data"]],
            "cancelled": cancelled["status"],
            "has_used": usage["total"]["requests"] > 0,
            "refusal": json.loads(refused.content[0].text)["code"] if refused.is_error else None,
            "progress": len(app.progress) > 0,
            "media_types": sorted(app.media_types - {""}),
        }


async def refusals(revision: str) -> Report:
    """What the client says of a wrong key and of a budget that is used up."""
    async with Connected(revision, POOR_KEY) as app:
        poor = (await app.send("ask_agent", message=NAME)).content[0].text
    stranger = Connected(revision, WRONG_KEY)
    with contextlib.suppress(Exception):  # it names no status
        async with stranger:
            await stranger.client.list_tools()
    return {"full_budget": poor, "wrong_key": str(stranger.statuses)}


async def main() -> Report:
    """A report for each revision that the command line names."""
    return {
        revision: {
            "stream": await used(revision, streams=True),
            "json": await used(revision, streams=False),
            "refusals": await refusals(revision),
        }
        for revision in sys.argv[1:]
    }


print(json.dumps(asyncio.run(main())))  # noqa: T201 - the result
