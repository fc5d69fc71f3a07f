"""The console's shell in a browser: it loads little, asks no other host, and all can use it."""

from __future__ import annotations

import httpx
import pytest

from local.services import FunctionsHost
from shared.console.pages import STATIC
from tests.support.console import ConsolePage

FIRST_LOAD_BYTES = 100_000
FIRST_LOAD_REQUESTS = 12

pytestmark = pytest.mark.timeout(600)  # the first run installs the packages


async def test_the_shell_can_be_used_by_all_and_asks_no_other_host(
    console_page: ConsolePage,
) -> None:
    await console_page.open()
    await console_page.check()


async def test_the_first_load_is_small(console_page: ConsolePage) -> None:
    await console_page.open()
    await console_page.page.wait_for_load_state("networkidle")
    transferred = await console_page.page.evaluate(
        "performance.getEntriesByType('resource')"
        ".concat(performance.getEntriesByType('navigation'))"
        ".map((each) => each.transferSize).reduce((sum, size) => sum + size, 0)"
    )
    asked = [each for each in console_page.requests if not each.startswith("data:")]
    assert (len(asked) <= FIRST_LOAD_REQUESTS, transferred < FIRST_LOAD_BYTES) == (True, True), (
        asked,
        transferred,
    )


async def test_files_are_compressed_and_revalidated_and_versions_are_kept(
    app: FunctionsHost,
) -> None:
    async with httpx.AsyncClient(base_url=f"{app.url}/console") as browser:
        page = await browser.get("")
        library = await browser.get("/vendor/htm-preact-3.1.1.js")
        again = await browser.get("", headers={"If-None-Match": page.headers["etag"]})
    assert 'data-auth-mode="function"' in page.text
    assert (page.status_code, again.status_code) == (200, 304)
    assert page.headers["cache-control"] == "no-cache"
    assert page.headers["content-encoding"] == library.headers["content-encoding"] == "gzip"
    assert "immutable" in library.headers["cache-control"]
    for answer in (page, library, again):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "camera=()" in answer.headers["permissions-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "x.js",
        "vendor/VENDORED.md",
        "..%2fpages.py",
        "screens/..%2f..%2fpages.py",
        "vendor",
        "screens/",
    ],
)
async def test_only_files_of_the_console_are_served(app: FunctionsHost, path: str) -> None:
    assert STATIC.is_dir()
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(f"{app.url}/console/{path}")
    assert answer.status_code == 404
