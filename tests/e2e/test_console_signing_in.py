"""Signing in to the console: with a key, and with the session of App Service authentication."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from playwright.async_api import Browser, expect

from local.services import Azurite, FoundryEmulator, FunctionsHost
from tests.support.callers import (
    ACCESS,
    ADMIN,
    OWNER,
    OWNER_KEY,
    PRINCIPAL_HEADER,
    TENANT,
    claims_of,
    document,
    encoded,
)
from tests.support.console import ConsolePage, console_tab
from tests.support.served import Deployment

pytestmark = pytest.mark.timeout(600)  # the first run installs the packages

OWN_CLIENT = "dddddddd-0000-4000-8000-000000000001"
SESSION_CLAIMS = [
    *(claim for claim in claims_of(TENANT, OWNER, "Agents.Use") if claim[0] not in {"azp", "aud"}),
    ("aud", OWN_CLIENT),
]
SESSION = {PRINCIPAL_HEADER: encoded(document(SESSION_CLAIMS))}
"""What App Service adds to a request with its cookie."""


@pytest.fixture(scope="module")
def entra_app(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FunctionsHost]:
    """An app that people and programs call with Entra."""
    deployment = Deployment(azurite.connection_string, foundry)
    settings = {**ACCESS, "AUTH_MODE": "entra", "AUTH_AUDIENCES": OWN_CLIENT}
    with deployment.serve(tmp_path_factory.mktemp("entra"), **settings) as host:
        yield host


@pytest.fixture
async def entra_page(entra_app: FunctionsHost, browser: Browser) -> AsyncIterator[ConsolePage]:
    async with console_tab(browser, entra_app.url) as tab:
        yield tab


async def test_a_person_signs_in_with_a_session_and_chats(entra_page: ConsolePage) -> None:
    page = await entra_page.open()
    link = page.get_by_role("link", name="Sign in with Microsoft")
    address = await link.get_attribute("href")
    assert address == "/.auth/login/aad?post_login_redirect_uri=/console"
    assert await page.get_by_label("Function key or client key").count() == 0
    await entra_page.check()
    await page.context.set_extra_http_headers(SESSION)  # the cookie, as App Service reads it
    await page.reload()
    await page.get_by_label("Message", exact=True).fill("Hello")
    await page.keyboard.press("Enter")
    await expect(page.locator(".entry.answer .markdown")).to_have_text("You said: Hello")
    await page.locator(".account summary").click()
    await expect(page.locator(".account")).to_contain_text(OWNER_KEY)
    await entra_page.check()


async def test_an_admin_acts_for_an_owner(entra_page: ConsolePage) -> None:
    claims = [*SESSION_CLAIMS, ("roles", "Agents.Admin")]
    session = {PRINCIPAL_HEADER: encoded(document(claims))}
    await entra_page.page.context.set_extra_http_headers(session)
    page = await entra_page.open("#/threads")
    await page.locator(".account summary").click()
    await page.get_by_label("Act for the owner").fill(f"{TENANT}:{ADMIN}")
    async with page.expect_request("**/api/threads?*") as asked:
        await page.keyboard.press("Enter")
    assert f"owner={TENANT}%3A{ADMIN}" in (await asked.value).url
    await expect(page.get_by_text(f"Acting for {TENANT}:{ADMIN}")).to_be_visible()
    await entra_page.check()


async def test_another_site_changes_nothing_with_a_persons_session(
    entra_app: FunctionsHost, entra_page: ConsolePage
) -> None:
    page = entra_page.page
    elsewhere = entra_app.url.replace("127.0.0.1", "localhost")
    await page.goto(f"{elsewhere}/api/health")
    await page.context.set_extra_http_headers(SESSION)
    async with page.expect_response(f"{entra_app.url}/api/threads") as answered:
        await page.evaluate(
            "(url) => { fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include'})"
            ".catch(() => {}); }",
            f"{entra_app.url}/api/threads",
        )
    assert (await answered.value).status == 403
    async with httpx.AsyncClient(base_url=f"{entra_app.url}/api/", headers=SESSION) as session:
        assert (await session.get("me")).status_code == 200
        refused = await session.delete("me/data")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "X-AOS-Console" in refused.json()["detail"]


async def test_a_wrong_key_is_refused_and_a_right_one_stays_in_the_tab(
    app: FunctionsHost, browser: Browser
) -> None:
    async with console_tab(browser, app.url) as tab:
        await tab.page.goto(f"{app.url}/console")
        await tab.page.evaluate("sessionStorage.setItem('console.key', 'aos_0123456789_wrong')")
        await tab.page.goto("about:blank")  # or only the hash would change
        page = await tab.open()
        await expect(page.get_by_role("alert")).to_contain_text("unauthorized")
        await tab.check()
        await page.get_by_label("Function key or client key").fill("a-key")
        async with page.expect_request("**/api/me") as asked:
            await page.keyboard.press("Enter")
        assert (await asked.value).headers["x-functions-key"] == "a-key"
        await expect(page.get_by_role("heading", name="Chat")).to_be_visible()
        await page.get_by_label("Message", exact=True).fill("Hello")
        await page.keyboard.press("Enter")
        await expect(page.locator(".entry.answer .markdown")).to_have_text("You said: Hello")
        assert not [url for url in tab.requests if "a-key" in url]
        assert await page.evaluate("localStorage.length") == 0
        await page.locator(".account summary").click()
        await page.get_by_role("button", name="Sign out").click()
        await page.wait_for_load_state()
        assert await page.evaluate("sessionStorage.length") == 0
