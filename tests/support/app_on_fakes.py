"""The app's parts on fakes, built as in production."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared.app import Services, Tables
from shared.config import AppSettings, FoundryAgentServiceConfig, IdentitySettings
from shared.foundry.service import FoundryService

from .fakes import FakeClock, FakeQueues, FakeTable
from .scripted_foundry import ScriptedFoundry

RESOURCE = "https://acme.services.ai.azure.com/openai/v1"
PROJECT = "https://acme.services.ai.azure.com/api/projects/p"
OWNER = "tid:oid"


@dataclass
class App:
    """Every part of the app, built as in production on fakes."""

    table: FakeTable = field(default_factory=FakeTable)
    audit_table: FakeTable = field(default_factory=FakeTable)
    metrics_table: FakeTable = field(default_factory=FakeTable)
    queues: FakeQueues = field(default_factory=FakeQueues)
    clock: FakeClock = field(default_factory=FakeClock)
    foundry: ScriptedFoundry = field(default_factory=ScriptedFoundry)
    settings: AppSettings = field(
        default_factory=lambda: AppSettings(
            foundry=FoundryAgentServiceConfig(
                endpoint_url=RESOURCE, api_key="secret", max_retries=0
            )
        )
    )
    _built: list[Services] = field(default_factory=list[Services])

    def services(self, identity: IdentitySettings | None = None) -> Services:
        """One more instance of the app on the same storage and Foundry."""
        service = FoundryService(self.settings.foundry, identity, http=self.foundry.transport)
        built = Services.build(
            self.settings,
            tables=Tables(self.table, self.audit_table, self.metrics_table),
            queues=self.queues,
            foundry=service,
            clock=self.clock,
        )
        self._built.append(built)
        return built

    async def aclose(self) -> None:
        for services in self._built:
            await services.aclose()


def at_resource(**settings: Any) -> FoundryAgentServiceConfig:
    """A configuration that calls a model at a resource endpoint."""
    given = {"endpoint_url": RESOURCE, "api_key": "secret", **settings}
    return FoundryAgentServiceConfig.model_validate(given)


def at_project(**settings: Any) -> FoundryAgentServiceConfig:
    """A configuration that calls an agent at a project endpoint."""
    given = {"endpoint_url": PROJECT, "agent_id": "helper", **settings}
    return FoundryAgentServiceConfig.model_validate(given)
