"""The interface of a model backend, and a model with its circuit breaker and health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from ..foundry.errors import FoundryError
from ..foundry.metrics import ClientMetrics
from ..foundry.models import TurnRequest, TurnResult
from ..turns.command import RunningTurn
from .breaker import Breaker
from .model_types import ModelType

HEALTH_SECONDS = 30.0
"""How long the last known health of a model is used before it is checked again."""

CHECK_SECONDS = 5.0
"""How long a health check may take; a request waits for it before a model is chosen."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a backend can do with a request; every backend streams."""

    tools: bool = False
    images: bool = False
    response_format: bool = False
    system_prompt: bool = True
    model: bool = True
    """Another model than the configured one."""
    sampling: bool = True
    """`temperature` and `top_p`."""


class Backend(Protocol):
    """Answers turns with one model or service."""

    @property
    def model_type(self) -> ModelType:
        """The type by which requests select it."""
        ...

    @property
    def model(self) -> str | None:
        """The model that answers if a request names none; None if the service chooses it."""
        ...

    @property
    def abilities(self) -> Abilities:
        """What it can do with a request."""
        ...

    @property
    def metrics(self) -> ClientMetrics:
        """Metrics of its turns."""
        ...

    def connect(self) -> None:
        """Check the settings; no request is sent.

        Raises:
            ConfigurationError: naming the setting that cannot work.
        """
        ...

    def refusal(self, request: TurnRequest) -> FoundryError | None:
        """The error that says why the backend cannot answer this request; None if it can."""
        ...

    async def answer(self, turn: RunningTurn) -> TurnResult:
        """Answer a turn.

        Raises:
            FoundryError: if there is no answer.
        """
        ...

    async def check(self) -> None:
        """Check with a request that costs no tokens that the service works.

        Raises:
            FoundryError: saying what is wrong.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class Health:
    """Whether a model is healthy, checked at most every `HEALTH_SECONDS`."""

    def __init__(self, backend: Backend, clock: Callable[[], float] = monotonic) -> None:
        self._backend = backend
        self._clock = clock
        self._checking = asyncio.Lock()
        self._known_until = 0.0
        self._healthy = False

    async def is_good(self) -> bool:
        """The last known health, or the result of a new check, which concurrent requests share."""
        async with self._checking:
            if self._clock() >= self._known_until:
                await self._check()
            return self._healthy

    async def _check(self) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._backend.check()
        except (FoundryError, TimeoutError):
            self.learn(healthy=False)
        else:
            self.learn(healthy=True)

    def learn(self, *, healthy: bool) -> None:
        """Store the health that a check or a turn showed."""
        self._healthy = healthy
        self._known_until = self._clock() + HEALTH_SECONDS

    def forget(self) -> None:
        """Check again before the next selection, because a turn failed."""
        self._known_until = 0.0


@dataclass(frozen=True, slots=True)
class Model:
    """A backend with its breaker and its known health."""

    backend: Backend
    breaker: Breaker
    health: Health

    @classmethod
    def of(cls, backend: Backend, clock: Callable[[], float] = monotonic) -> Model:
        """A model with a closed circuit."""
        return cls(backend, Breaker(backend.model_type, clock), Health(backend, clock))

    @property
    def model_type(self) -> ModelType:
        """The type by which requests select it."""
        return self.backend.model_type
