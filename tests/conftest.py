"""Fixtures that start the real parts: storage, Foundry and an app, each once a session."""

import gc
import os
import re
from collections.abc import AsyncIterator, Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from local.services import Azurite, FoundryEmulator, FunctionsHost
from local.services import azurite as run_azurite
from local.services import foundry_emulator as run_foundry
from tests.support import authorities as _  # noqa: F401 - shared by all clients of this process
from tests.support import forking
from tests.support.leaks import leaks
from tests.support.served import Deployment, EmulatorControl

settings.register_profile(
    "any machine",
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "50")),
    deadline=None,  # no test asserts a time, and a busy machine is slow
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")

_LONGEST_FIRST = (
    "e2e/test_ownership",
    "fault/test_torture",
    "e2e/test_secrets",
    "contract/test_smollm2",
    "integration/worker/",
    "docs/test_examples",
    "fault/test_crash_steps",
    "e2e/test_fair_share",
    "e2e/test_callbacks",
    "e2e/test_keys",
    "e2e/test_console_screens",
    "docs/test_snippets",
    "interop/",
    "e2e/test_console",
    "cli/",
    "fault/test_lane_machine",
    "e2e/test_idempotency",
    "e2e/test_outages",
    "infrastructure/test_package",
    "infrastructure/test_install",
    "integration/test_install_advice",
    "integration/test_launcher",
    "integration/test_host_lifecycle",
    "contract/test_process",
    "e2e/test_interrupted_deletion",
    "infrastructure/",
    "docs/",
    "e2e/",
    "contract/",
    "fault/",
    "integration/",
)
"""Files and folders, the longest tests first; those of `unit` fill the gaps at the end."""

_ULID = re.compile("[0-9A-HJKMNP-TV-Z]{26}")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name cases by nothing that differs at each import, so that all processes agree on them."""
    if isinstance(val, bytes):
        if not (val.isascii() and val.decode("ascii").isprintable()):
            return f"{len(val)}-bytes"
        val = val.decode("ascii")
    return _ULID.sub("ULID", val) if isinstance(val, str) and _ULID.search(val) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage only afterwards: what is collected here lives until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)  # a random order that was asked for comes after it
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: _place(item.nodeid.removeprefix("tests/")))


def _place(name: str) -> int:
    places = (n for n, start in enumerate(_LONGEST_FIRST) if name.startswith(start))
    return next(places, len(_LONGEST_FIRST))


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Azurite on free ports, in memory, empty at the start of the session."""
    with run_azurite(None, tmp_path_factory.mktemp("azurite")) as service:
        yield service


@pytest.fixture(scope="session")
def foundry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FoundryEmulator]:
    """The Foundry emulator on a free port, with scripted answers and no saved state."""
    logs = tmp_path_factory.mktemp("foundry")
    environment = {
        "FOUNDRY_LOCAL_BACKEND": "scripted",
        "FOUNDRY_LOCAL_API_KEYS": "local-key,your-api-key",  # the second as documented
    }
    with run_foundry(logs, environment=environment, spawn=forking.spawn) as service:
        yield service


@pytest.fixture(scope="session")
async def deployment(azurite: Azurite, foundry: FoundryEmulator) -> AsyncIterator[Deployment]:
    """The settings of the shared app; when all tests are done, no secret is in its tables."""
    deployment = Deployment(azurite.connection_string, foundry)
    yield deployment
    assert leaks(await deployment.everything()) == []
    assert await deployment.of_no_kind() == []


@pytest.fixture(scope="session")
def app(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FunctionsHost]:
    """The app that tests share."""
    with deployment.serve(tmp_path_factory.mktemp("app")) as host:
        yield host


@pytest.fixture
async def emulator(foundry: FoundryEmulator) -> AsyncIterator[EmulatorControl]:
    """The emulator's controls; no fault outlives the test."""
    control = EmulatorControl(foundry)
    yield control
    await control.clear_faults()
    await control.aclose()
