"""Fixtures that start the real parts: storage and Foundry, each once a session."""

from collections.abc import Iterator

import pytest

from local.services import Azurite, FoundryEmulator
from local.services import azurite as run_azurite
from local.services import foundry_emulator as run_foundry


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Azurite on free ports, empty at the start of the session."""
    folder = tmp_path_factory.mktemp("azurite")
    with run_azurite(folder / "data", folder / "logs") as service:
        yield service


@pytest.fixture(scope="session")
def foundry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FoundryEmulator]:
    """The Foundry emulator on a free port, with scripted answers and no saved state."""
    logs = tmp_path_factory.mktemp("foundry")
    environment = {
        "FOUNDRY_LOCAL_BACKEND": "scripted",
        "FOUNDRY_LOCAL_API_KEYS": "local-key,your-api-key",  # the second as documented
    }
    with run_foundry(logs, environment=environment) as service:
        yield service
