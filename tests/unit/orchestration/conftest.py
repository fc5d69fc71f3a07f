"""An orchestration on emulators in this process, and ways to talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from shared.config import FoundryAgentServiceConfig, IdentitySettings, ModelSettings, Preferences
from shared.foundry.models import TurnRequest
from shared.foundry.service import FoundryService
from shared.orchestration import ModelType
from shared.orchestration.backends import Model
from shared.orchestration.conversations import Conversations, MemoryConversations, ModelRequest
from shared.orchestration.engine import Orchestration, Progress
from shared.orchestration.foundry_backend import FoundryBackend
from shared.orchestration.providers import ChatServers
from shared.orchestration.results import Orchestrated
from shared.orchestration.routing import Router
from tests.support.net import Net, foundry_config, model_settings, running_net

SECONDS = 5.0


class Ticks:
    """A monotonic clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Asking:
    """An orchestration, and what tests do with it."""

    orchestration: Orchestration
    models: dict[ModelType, Model]
    ticks: Ticks

    async def ask(
        self,
        text: str,
        model_type: ModelType | None = ModelType.FOUNDRY_AGENT_SERVICE,
        conversation: str = "conv-001",
        *,
        seconds: float = SECONDS,
        **options: Any,
    ) -> Orchestrated:
        turn = TurnRequest(text, **options)
        return await self.orchestration.run(ModelRequest(turn, conversation, seconds, model_type))

    async def stream(
        self,
        text: str,
        model_type: ModelType | None = ModelType.FOUNDRY_AGENT_SERVICE,
        *,
        seconds: float = SECONDS,
        **options: Any,
    ) -> list[Progress]:
        request = ModelRequest(
            TurnRequest(text, **options), "conv-001", seconds, model_type, streamed=True
        )
        return [event async for event in self.orchestration.events(request)]


@dataclass
class Build:
    """Makes orchestrations, and closes them."""

    net: httpx.AsyncBaseTransport
    identity: IdentitySettings
    made: list[Orchestration] = field(default_factory=list[Orchestration])

    def __call__(
        self,
        foundry: FoundryAgentServiceConfig | None = None,
        models: ModelSettings | None = None,
        conversations: Conversations | None = None,
    ) -> Asking:
        config, settings = foundry or foundry_config(), models or model_settings()
        servers = ChatServers(settings, config, self.identity, self.net)
        backends = [*servers.backends()]
        if config.endpoint_url:
            service = FoundryService(config, self.identity, http=self.net)
            backends.append(FoundryBackend(service))
        ticks = Ticks()
        made = [Model.of(backend, ticks) for backend in backends]
        preferences = Preferences.parse(settings.preferences)
        router = Router(made, preferences, patience=config.timeout)
        orchestration = Orchestration(router, conversations or MemoryConversations())
        self.made.append(orchestration)
        return Asking(orchestration, {model.model_type: model for model in made}, ticks)


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    async with running_net() as net:
        yield net


@pytest.fixture
async def build(net: Net, identity: IdentitySettings) -> AsyncIterator[Build]:
    build = Build(net, identity)
    yield build
    for orchestration in build.made:
        await orchestration.aclose()


@pytest.fixture
def asking(build: Build) -> Asking:
    """Foundry at its resource endpoint, vLLM and OpenAI."""
    return build()
