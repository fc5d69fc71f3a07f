"""All settings of the app."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from .base import Settings
from .foundry import FoundryAgentServiceConfig
from .identity import AccessSettings, IdentitySettings
from .jobs import JobSettings, OutletSettings
from .models import ModelSettings
from .operation import SpendingSettings, TelemetrySettings
from .storage import RetentionSettings, StorageSettings

HTTP_DEADLINE_SECONDS = 220
"""Azure cuts an HTTP answer at about 230 s; a turn must be over a little before that."""


class AppSettings(Settings):
    """Everything the Functions app reads, in groups."""

    foundry: FoundryAgentServiceConfig = FoundryAgentServiceConfig()
    """The Foundry Agent Service."""

    identity: IdentitySettings = IdentitySettings()
    """The app's own identity."""

    access: AccessSettings = AccessSettings()
    """Who may call."""

    models: ModelSettings = ModelSettings()
    """Models beside Foundry."""

    storage: StorageSettings = StorageSettings()
    """The storage account."""

    jobs: JobSettings = JobSettings()
    """Jobs and their queues."""

    outlets: OutletSettings = OutletSettings()
    """Callbacks and reply queues."""

    retention: RetentionSettings = RetentionSettings()
    """How long records are kept."""

    spending: SpendingSettings = SpendingSettings()
    """Prices and budgets."""

    telemetry: TelemetrySettings = TelemetrySettings()
    """Where traces and logs go."""

    @model_validator(mode="after")
    def _is_private_or_not(self) -> Self:
        if self.foundry.log_content and not self.storage.record_content:
            raise ValueError("FOUNDRY_LOG_CONTENT records what RECORD_CONTENT forbids; clear one")
        return self

    @property
    def turn_seconds(self) -> float:
        """How long a turn may take while its caller waits on HTTP."""
        return self.turn_seconds_after(0)

    def turn_seconds_after(self, waited: float) -> float:
        """As `turn_seconds`, for a caller who has waited for some seconds already."""
        return min(self.foundry.timeout, HTTP_DEADLINE_SECONDS - waited)

    @property
    def stream_seconds(self) -> float:
        """How long a streamed turn may take; Azure does not cut an answer that keeps coming."""
        return self.jobs.turn_timeout
