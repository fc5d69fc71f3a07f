"""The page of the API document in a real browser: nothing is blocked, and requests can be tried."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Browser, Page, expect

from local.services import FunctionsHost
from tests.support.console import console_tab

pytestmark = pytest.mark.timeout(600)  # the first run installs the packages

MESSAGE = json.dumps({"message": "Hello from the page"})
SEND = "#operations-Messages-sendMessage"


async def test_a_message_is_sent_from_the_page(app: FunctionsHost, browser: Browser) -> None:
    async with console_tab(browser, app.url) as tab:
        await tab.page.goto(f"{app.url}/api/docs")
        await tab.page.wait_for_selector(SEND)
        await enter_key(tab.page, "a-key")
        async with tab.page.expect_request("**/api/messages") as sent:
            await execute(tab.page)
        assert (await sent.value).headers["x-functions-key"] == "a-key"
        shown = tab.page.locator(f"{SEND} .live-responses-table .response .highlight-code").first
        await expect(shown).to_contain_text('"content": "You said: Hello from the page"')
        await tab.check_quiet()


async def enter_key(page: Page, key: str) -> None:
    await page.click(".auth-wrapper .authorize")
    await page.fill(".modal-ux #api_key_value >> nth=0", key)
    await page.click(".modal-ux button.authorize >> nth=0")
    await page.click(".modal-ux button.btn-done")


async def execute(page: Page) -> None:
    """Fill in the body of a message and send it."""
    await page.click(f"{SEND} .opblock-summary-control")
    await page.fill(f"{SEND} textarea.body-param__text", MESSAGE)
    await page.click(f"{SEND} button.execute")
