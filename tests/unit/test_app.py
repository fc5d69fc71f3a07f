"""The parts of the app: built from settings, and all closed."""

from __future__ import annotations

import pytest
from azure.identity.aio import ManagedIdentityCredential

from shared.app import Services
from shared.config import (
    AppSettings,
    FoundryAgentServiceConfig,
    IdentitySettings,
    SettingsError,
    StorageSettings,
)
from shared.state.account import DEVELOPMENT_STORAGE
from tests.support.app_on_fakes import App


def with_storage(**storage: str) -> AppSettings:
    return AppSettings(storage=StorageSettings.model_validate(storage))


async def test_the_app_starts_without_storage_or_foundry_at_hand() -> None:
    services = Services.connect(with_storage(connection_string=DEVELOPMENT_STORAGE))
    assert services.core.settings.foundry == FoundryAgentServiceConfig()
    await services.aclose()


@pytest.mark.parametrize(
    "storage", [{}, {"table_service_uri": "https://acme.table.core.windows.net"}]
)
def test_missing_storage_is_named_with_its_settings(storage: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="AzureWebJobsStorage__queueServiceUri"):
        Services.connect(with_storage(**storage))


def test_storage_by_identity_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    settings = with_storage(
        table_service_uri="https://acme.table.core.windows.net",
        queue_service_uri="https://acme.queue.core.windows.net",
    )
    with pytest.raises(SettingsError, match="AZURE_CLIENT_ID"):
        Services.connect(settings)


async def test_closing_signs_off_from_the_storage_account(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[ManagedIdentityCredential] = []

    class Observed(ManagedIdentityCredential):
        async def close(self) -> None:
            closed.append(self)
            await super().close()

    monkeypatch.setattr("azure.identity.aio.ManagedIdentityCredential", Observed)
    settings = with_storage(
        table_service_uri="https://acme.table.core.windows.net",
        queue_service_uri="https://acme.queue.core.windows.net",
    )
    endpoint = "http://127.0.0.1:9/msi/token"
    identity = IdentitySettings(managed_identity_endpoint=endpoint)
    services = Services.connect(settings.model_copy(update={"identity": identity}))
    await services.aclose()
    assert len(closed) == 1


async def test_closing_closes_all_parts(app: App) -> None:
    services = app.services()
    await services.aclose()
    assert app.table.closed
    assert app.queues.closed
