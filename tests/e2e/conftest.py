"""A caller of the app that most tests share, and a browser."""

import shutil
from collections.abc import AsyncIterator

import httpx
import pytest
from playwright.async_api import Browser

from local.services import FunctionsHost
from tests.support.console import ConsolePage, console_tab, run_browser
from tests.support.leaks import CALLERS_SECRETS, check_answer


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
async def thread_id(caller: httpx.AsyncClient) -> str:
    """A fresh thread."""
    answer = await caller.post("threads", json={})
    assert answer.status_code == 201, answer.text
    return answer.json()["thread_id"]


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, for the tests of one module; the one without windows takes a third less time."""
    chromium = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no Chromium: `apt-get install chromium-headless-shell`")
    async with run_browser(chromium) as browser:
        yield browser


@pytest.fixture
async def console_page(app: FunctionsHost, browser: Browser) -> AsyncIterator[ConsolePage]:
    """A tab with the console of the shared app, which takes any key."""
    async with console_tab(browser, app.url, key="a-key") as tab:
        yield tab
