"""All settings of the app."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Self

from pydantic import model_validator

from .base import Settings, names_in
from .consistency import colliding_queues, colliding_tables, slips, unknown
from .foundry import FoundryAgentServiceConfig
from .identity import AccessSettings, IdentitySettings
from .jobs import CallbackSettings, JobSettings
from .models import ModelSettings
from .operation import ConsoleSettings, LimitSettings, TelemetrySettings
from .spending import SpendingSettings
from .storage import RetentionSettings, StorageSettings

log = logging.getLogger(__name__)

HTTP_DEADLINE_SECONDS = 220
"""Azure ends an HTTP request after about 230 s, so a turn must end a little earlier."""


class AppSettings(Settings):
    """All settings of the Functions app, in groups."""

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

    callbacks: CallbackSettings = CallbackSettings()
    """Callbacks and reply queues."""

    limits: LimitSettings = LimitSettings()
    """Limits for each owner."""

    console: ConsoleSettings = ConsoleSettings()
    """The web console."""

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

    @classmethod
    def read(cls, source: Mapping[str, str]) -> tuple[Self, list[str]]:
        """Read the settings, and check for misspelt variables; see `Settings.read`."""
        settings, problems = super().read(source)
        known = cls.all_variables()
        problems += slips(source, known)
        refused = {problem.split()[0] for problem in problems}
        for warning in unknown(source.keys() - refused, known):
            log.warning("%s", warning)
        return settings, problems

    def problems(self) -> list[str]:
        """See `Settings.problems`."""
        tables = {
            "STATE_TABLE_NAME": self.storage.state_table,
            "AUDIT_TABLE_NAME": self.storage.audit_table,
            "METRICS_TABLE_NAME": self.storage.metrics_table,
        }
        queues = {
            "JOBS_QUEUE_NAME": self.jobs.intake_queue,
            "LANES_QUEUE_NAME": self.jobs.lanes_queue,
            "DELIVERIES_QUEUE_NAME": self.callbacks.deliveries_queue,
        }
        replies = {"REPLY_QUEUES": names_in(self.callbacks.reply_queues)}
        return [*colliding_tables(tables), *colliding_queues(queues, replies)]

    @property
    def turn_seconds(self) -> float:
        """The most seconds of a turn whose caller waits for the HTTP response."""
        return self.turn_seconds_after(0)

    def turn_seconds_after(self, waited: float) -> float:
        """Like `turn_seconds`, for a caller who has already waited ``waited`` seconds."""
        return min(self.foundry.timeout, HTTP_DEADLINE_SECONDS - waited)

    @property
    def stream_seconds(self) -> float:
        """The most seconds of a streamed turn; Azure does not end a response that sends data."""
        return self.jobs.turn_timeout
