"""Fixtures that start the real parts: storage and Foundry, each once a session."""

import re
from collections.abc import Iterator

import pytest

from local.services import Azurite, FoundryEmulator
from local.services import azurite as run_azurite
from local.services import foundry_emulator as run_foundry

_ULID = re.compile("[0-9A-HJKMNP-TV-Z]{26}")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name cases by nothing that differs at each import, so that all processes agree on them."""
    if isinstance(val, bytes):
        if not (val.isascii() and val.decode("ascii").isprintable()):
            return f"{len(val)}-bytes"
        val = val.decode("ascii")
    return _ULID.sub("ULID", val) if isinstance(val, str) and _ULID.search(val) else None


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
