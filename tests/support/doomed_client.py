"""A program that uses the client, and never leaves its tool.

Arguments: `json` or `stream`; `async` or `sync` for the tool; optionally a thread to go on with,
and `orchestrator` to use that. It prints an id to go on with, and "in the tool" when it is there.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

from shared.foundry import FoundryAgentServiceClient
from shared.orchestration import ModelOrchestrator, ModelType


async def charge() -> str:
    """Charge the order."""
    print("in the tool", flush=True)  # noqa: T201
    await asyncio.Event().wait()
    return ""


def charge_in_thread() -> str:
    """Charge the order."""
    print("in the tool", flush=True)  # noqa: T201
    threading.Event().wait()
    return ""


async def use_client(way: str, tool: Callable[..., Any], thread_id: str | None) -> None:
    async with FoundryAgentServiceClient() as client:
        thread_id = thread_id or await client.create_thread()
        first = await client.send_message_or_raise("first", thread_id)
        is_chain = thread_id.startswith("thread_")
        print(first.metadata["response_id"] if is_chain else thread_id)  # noqa: T201
        if way == "json":
            await client.send_message(f"/call {tool.__name__}", thread_id, tools=[tool])
        async for _ in client.stream_message(f"/call {tool.__name__}", thread_id, tools=[tool]):
            pass


async def use_orchestrator(way: str, tool: Callable[..., Any], conversation_id: str) -> None:
    asked = (ModelType.FOUNDRY_AGENT_SERVICE, "general", f"/call {tool.__name__}", conversation_id)
    async with ModelOrchestrator() as orchestrator:
        first = await orchestrator.process_model_request(asked[0], asked[1], "first", asked[3])
        print(first["thread_id"])  # noqa: T201
        if way == "json":
            await orchestrator.process_model_request(*asked, tools=[tool])
        async for _ in orchestrator.stream_model_request(*asked, tools=[tool]):
            pass


def main() -> None:
    way, kind, *rest = sys.argv[1:]
    tool = charge if kind == "async" else charge_in_thread
    thread_id = rest[0] if rest else None
    if "orchestrator" in rest:
        asyncio.run(use_orchestrator(way, tool, str(thread_id)))
    else:
        asyncio.run(use_client(way, tool, thread_id))


if __name__ == "__main__":
    main()
