"""An orchestration on emulators in this process, and ways to talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from shared.config import FoundryAgentServiceConfig, IdentitySettings, ModelSettings, Preferences
from shared.foundry.models import TurnRequest
from shared.foundry.service import FoundryService
from shared.orchestration import ModelType
from shared.orchestration.backends import Model
from shared.orchestration.foundry_backend import FoundryBackend
from shared.orchestration.memory import MemoryTurns
from shared.orchestration.orchestrator import LOCAL_OWNER, RunsTurns
from shared.orchestration.providers import ChatServers
from shared.orchestration.routing import Router
from shared.state.turns import TurnMode
from shared.turns.answerer import Answerer
from shared.turns.command import AnsweredTurn, Progress, TurnCommand
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
    """Orchestrated turns, and what tests do with them."""

    turns: RunsTurns
    router: Router
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
    ) -> AnsweredTurn:
        request = TurnRequest(text, **options)
        return await self.turns.run(command(request, model_type, conversation, seconds))

    async def stream(
        self,
        text: str,
        model_type: ModelType | None = ModelType.FOUNDRY_AGENT_SERVICE,
        *,
        seconds: float = SECONDS,
        **options: Any,
    ) -> list[Progress]:
        request = TurnRequest(text, **options)
        streamed = replace(command(request, model_type, seconds=seconds), mode=TurnMode.STREAM)
        return [event async for event in self.turns.stream(streamed)]


def command(
    request: TurnRequest,
    model_type: ModelType | None = ModelType.FOUNDRY_AGENT_SERVICE,
    conversation: str = "conv-001",
    seconds: float = SECONDS,
) -> TurnCommand:
    """The command of an orchestrated turn."""
    return TurnCommand(
        LOCAL_OWNER,
        request,
        seconds,
        conversation_id=conversation,
        orchestrated=True,
        model_type=model_type,
    )


MakesTurns = Callable[[Answerer], RunsTurns]


@dataclass
class Build:
    """Makes orchestrations, and closes them."""

    net: httpx.AsyncBaseTransport
    identity: IdentitySettings
    made: list[Asking] = field(default_factory=list[Asking])

    def __call__(
        self,
        foundry: FoundryAgentServiceConfig | None = None,
        models: ModelSettings | None = None,
        make_turns: MakesTurns = MemoryTurns,
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
        by_type = {model.model_type: model for model in made}
        asking = Asking(make_turns(router), router, by_type, ticks)
        self.made.append(asking)
        return asking


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    async with running_net() as net:
        yield net


@pytest.fixture
async def build(net: Net, identity: IdentitySettings) -> AsyncIterator[Build]:
    build = Build(net, identity)
    yield build
    for asking in build.made:
        await asking.turns.aclose()
        await asking.router.aclose()


@pytest.fixture
def asking(build: Build) -> Asking:
    """Foundry at its resource endpoint, vLLM and OpenAI."""
    return build()
