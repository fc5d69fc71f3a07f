"""One app for most tests, a caller of it, a browser, and the emulator's controls."""

import shutil
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from playwright.async_api import Browser

from local.services import Azurite, FoundryEmulator, FunctionsHost
from tests.support.console import ConsolePage, console_tab, run_browser
from tests.support.leaks import CALLERS_SECRETS, check_answer, leaks
from tests.support.served import Deployment, EmulatorControl


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
async def caller(app: FunctionsHost) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the shared app, whose own secrets are in no answer."""
    async with httpx.AsyncClient(
        base_url=f"{app.url}/api/",
        timeout=30,
        headers=CALLERS_SECRETS,
        event_hooks={"response": [check_answer]},
    ) as client:
        yield client


@pytest.fixture
async def emulator(foundry: FoundryEmulator) -> AsyncIterator[EmulatorControl]:
    """The emulator's controls; no fault outlives the test."""
    control = EmulatorControl(foundry)
    yield control
    await control.clear_faults()
    await control.aclose()


@pytest.fixture
async def thread_id(caller: httpx.AsyncClient) -> str:
    """A fresh thread."""
    answer = await caller.post("threads", json={})
    assert answer.status_code == 201, answer.text
    return answer.json()["thread_id"]


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, for the tests of one module."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no Chromium: `apt-get install chromium`")
    async with run_browser(chromium) as browser:
        yield browser


@pytest.fixture
async def console_page(app: FunctionsHost, browser: Browser) -> AsyncIterator[ConsolePage]:
    """A tab with the console of the shared app, which takes any key."""
    async with console_tab(browser, app.url, key="a-key") as tab:
        yield tab
