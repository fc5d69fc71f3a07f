"""Foundry as one of the models."""

from __future__ import annotations

from ..config import ModelType
from ..foundry.errors import FoundryError
from ..foundry.metrics import ClientMetrics
from ..foundry.models import TurnRequest
from ..turns.answerer import FoundryAnswerer


class FoundryBackend(FoundryAnswerer):
    """Answers through the Foundry client."""

    @property
    def model_type(self) -> ModelType:
        """Foundry's."""
        return ModelType.FOUNDRY_AGENT_SERVICE

    @property
    def metrics(self) -> ClientMetrics:
        """Those of the client, from all its users."""
        return self.service.metrics

    def connect(self) -> None:
        """Check the settings.

        Raises:
            ConfigurationError: naming the setting that cannot work.
        """
        self.service.connect()

    def refusal(self, request: TurnRequest) -> FoundryError | None:
        """None: Foundry itself refuses what it cannot do."""
        return None

    async def check(self) -> None:
        """Ask Foundry for the agent or model in use.

        Raises:
            FoundryError: saying what is wrong.
        """
        await self.service.check()

    async def aclose(self) -> None:
        """Close all connections."""
        await self.service.aclose()
