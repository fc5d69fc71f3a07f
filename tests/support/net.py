"""The services behind the models, at the HTTP seam: emulators in this process, and their faults."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from local.foundry.app import create_app
from local.foundry.settings import EmulatorSettings
from local.model import ScriptedModel
from shared.config import FoundryAgentServiceConfig, ModelSettings

FOUNDRY, VLLM, OPENAI = "foundry.test", "vllm.test", "openai.test"
KEY = "local-key"
TOKEN = "a-token"
"""What the managed identity of the tests gives every client."""


@dataclass(frozen=True)
class Seen:
    """A request that reached a service."""

    method: str
    path: str
    headers: httpx.Headers
    body: dict[str, Any]


class Net(httpx.AsyncBaseTransport):
    """Carries requests to the service of their host, unless a fault was asked for."""

    def __init__(self, services: dict[str, httpx.AsyncBaseTransport]) -> None:
        self._services = services
        self.seen: dict[str, list[Seen]] = defaultdict(list)
        self._faults: dict[str, list[httpx.Response | Exception | float]] = defaultdict(list)
        self._down: dict[str, httpx.Response | Exception] = {}
        self._lost: set[str] = set()

    def fail(self, host: str, *faults: httpx.Response | Exception | float) -> None:
        """Answer the next messages with these, in order; a number is seconds of silence."""
        self._faults[host] += faults

    def down(self, host: str, fault: httpx.Response | Exception | None) -> None:
        """Answer every message with ``fault`` from now on; None is the end of it."""
        self._down.pop(host, None)
        if fault is not None:
            self._down[host] = fault

    def lose_answer(self, host: str) -> None:
        """Let the service work on the next message, but lose its answer and go down."""
        self._lost.add(host)

    def asked(self, host: str) -> list[dict[str, Any]]:
        """The bodies of the messages that reached a service."""
        return [seen.body for seen in self.seen[host] if _is_message(seen)]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        body = json.loads(request.content) if request.content else {}
        seen = Seen(request.method, request.url.path, request.headers, body)
        self.seen[host].append(seen)
        fault = self._fault(host) if _is_message(seen) else self._down.get(host)
        if isinstance(fault, int | float):
            await asyncio.sleep(fault)
        elif isinstance(fault, Exception):
            raise fault
        elif fault is not None:
            content = httpx.ByteStream(fault.content)
            return httpx.Response(fault.status_code, headers=fault.headers, stream=content)
        answer = await self._services[host].handle_async_request(request)
        if host in self._lost and _is_message(seen):
            self._lost.remove(host)
            await answer.aread()
            self._down[host] = httpx.ReadError("The connection was reset.")
            raise httpx.ReadError("The connection was reset.")
        return answer

    def _fault(self, host: str) -> httpx.Response | Exception | float | None:
        if self._faults[host]:
            return self._faults[host].pop(0)
        return self._down.get(host)


def _is_message(seen: Seen) -> bool:
    return seen.method == "POST" and seen.path.endswith(("/responses", "/chat/completions"))


@asynccontextmanager
async def running_net() -> AsyncGenerator[Net]:
    """Three services, each an emulator with a memory of its own."""
    async with AsyncExitStack() as stack:
        services: dict[str, httpx.AsyncBaseTransport] = {}
        for host in (FOUNDRY, VLLM, OPENAI):
            app = create_app(EmulatorSettings(tokens=frozenset({TOKEN})), ScriptedModel())
            await stack.enter_async_context(app.router.lifespan_context(app))
            services[host] = httpx.ASGITransport(app)
        yield Net(services)


def foundry_config(*, project: bool = False, **settings: Any) -> FoundryAgentServiceConfig:
    """Foundry at the resource endpoint with a key, or at the project endpoint."""
    path, key = ("/api/projects/local", "") if project else ("/openai/v1", KEY)
    given = {"endpoint_url": f"https://{FOUNDRY}{path}", "api_key": key, "max_retries": 0}
    return FoundryAgentServiceConfig.model_validate({**given, **settings})


def model_settings(**settings: Any) -> ModelSettings:
    """vLLM, and OpenAI as the last resort."""
    given = {
        "vllm_server_url": f"https://{VLLM}/openai/v1",
        "vllm_api_key": KEY,
        "openai_api_key": KEY,
        "openai_base_url": f"https://{OPENAI}/openai/v1",
        "openai_model": "gpt-4.1",
    }
    return ModelSettings.model_validate({**given, **settings})
