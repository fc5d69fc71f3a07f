"""Foundry as a model backend."""

from __future__ import annotations

from ..config import ModelType
from ..foundry.errors import FoundryError
from ..foundry.metrics import ClientMetrics
from ..foundry.models import TurnRequest
from ..turns.answerer import FoundryAnswerer
from .backends import Abilities


class FoundryBackend(FoundryAnswerer):
    """Answers turns with Foundry."""

    @property
    def model_type(self) -> ModelType:
        """The type of Foundry."""
        return ModelType.FOUNDRY_AGENT_SERVICE

    @property
    def model(self) -> str | None:
        """The configured model; None with an agent, which has its own."""
        return None if self.service.config.asks_agent else self.service.config.model

    @property
    def abilities(self) -> Abilities:
        """Everything, except what belongs to an agent's definition."""
        config = self.service.config
        is_direct = not config.asks_agent
        return Abilities(
            tools=config.enable_foundry_tools,
            images=True,
            response_format=is_direct,
            system_prompt=is_direct,
            model=is_direct,
            sampling=is_direct,
        )

    @property
    def metrics(self) -> ClientMetrics:
        """Metrics of the Foundry client, which other turns use too."""
        return self.service.metrics

    def connect(self) -> None:
        """Check the settings.

        Raises:
            ConfigurationError: naming the setting that cannot work.
        """
        self.service.connect()

    def refusal(self, request: TurnRequest) -> FoundryError | None:
        """None, because Foundry itself refuses requests that it does not support."""
        return None

    async def check(self) -> None:
        """Check that Foundry has the configured agent or model.

        Raises:
            FoundryError: saying what is wrong.
        """
        await self.service.check()

    async def aclose(self) -> None:
        """Close all connections."""
        await self.service.aclose()
