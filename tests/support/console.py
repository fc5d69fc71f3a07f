"""The console in a real browser: opening it, and what no page may ever do."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, async_playwright, expect

from local.node import find_node
from local.services import ROOT

from .environments import node_packages

DESKTOP, PHONE = 1280, 390
"""Widths in CSS pixels."""
HEIGHT = 900
SHOWN_MS = 30_000
"""The deadline for what a page is to show: a busy machine is slow."""
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

REPORT_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""

RUN_AXE = """
async () => (await axe.run()).violations.map((each) =>
  `${each.id}: ${each.help}: ${each.nodes.map((node) => node.html).slice(0, 3).join(" ")}`)
"""

REFUSED = "Failed to load resource"
"""The beginning of what Chromium writes to the console about an answer of 400 and more."""


@cache
def axe_source() -> str:
    """The script that looks for what assistive technology cannot use."""
    packages = node_packages(
        "browser-tools", ROOT / "tests/support/browser", find_node(Path(sys.prefix))
    )
    return (packages.folder / "node_modules/axe-core/axe.min.js").read_text("utf-8")


@asynccontextmanager
async def run_browser(chromium: str) -> AsyncGenerator[Browser]:
    """Chromium without a window."""
    expect.set_options(timeout=SHOWN_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


@dataclass
class ConsolePage:
    """A tab with the console, and what happened in it."""

    page: Page
    url: str
    """The address of the app."""
    errors: list[str] = field(default_factory=list[str])
    """What the page wrote to the console as an error, and exceptions that nothing caught."""
    refused: list[str] = field(default_factory=list[str])
    """Answers of 400 and more, which Chromium also writes to the console."""
    requests: list[str] = field(default_factory=list[str])

    async def open(self, screen: str = "#/chat") -> Page:
        """Load the console at a screen, and wait until the screen is there."""
        await self.page.goto(f"{self.url}/console{screen}")
        await self.page.wait_for_selector("main h1")
        return self.page

    async def go(self, screen: str) -> Page:
        """Go to another screen without loading the page anew."""
        await self.page.evaluate("(hash) => { location.hash = hash; }", screen)
        await self.page.wait_for_selector("main h1")
        return self.page

    @property
    def elsewhere(self) -> list[str]:
        """Requests to other hosts."""
        host = urlsplit(self.url).netloc
        return [each for each in self.requests if urlsplit(each).netloc not in {host, ""}]

    async def violations(self) -> list[str]:
        """What the Content-Security-Policy blocked."""
        return await self.page.evaluate("window.violations")

    async def check(self) -> None:
        """Nothing failed, nothing was blocked, no other host was asked, and all can use it.

        The last is checked by axe-core, at the width of a phone and in the light theme, and at
        that of a desktop in the dark one.
        """
        await self.check_quiet()
        await self.page.evaluate(axe_source())
        for width, theme in zip((PHONE, DESKTOP), THEMES, strict=True):
            await self.page.set_viewport_size({"width": width, "height": HEIGHT})
            await self.page.emulate_media(color_scheme=theme)
            assert await self.page.evaluate(RUN_AXE) == [], (width, theme)
            overflow = "document.documentElement.scrollWidth - window.innerWidth"
            assert await self.page.evaluate(overflow) <= 0, f"wider than {width} px"
        await self.check_quiet()

    async def check_quiet(self) -> None:
        """Nothing failed, nothing was blocked, and no other host was asked."""
        assert (self.errors, await self.violations(), self.elsewhere) == ([], [], [])


@asynccontextmanager
async def console_tab(
    browser: Browser, url: str, key: str = "", width: int = DESKTOP
) -> AsyncGenerator[ConsolePage]:
    """A tab of its own, signed in with ``key`` if one is given."""
    context = await browser.new_context(
        viewport={"width": width, "height": HEIGHT}, reduced_motion="reduce"
    )
    page = await context.new_page()
    tab = ConsolePage(page, url)
    await page.add_init_script(REPORT_VIOLATIONS)
    if key:
        await page.add_init_script(f"sessionStorage.setItem('console.key', '{key}')")
    page.on("console", lambda message: _note(tab, message.type, message.text))
    page.on("pageerror", lambda error: tab.errors.append(str(error)))
    page.on("request", lambda request: tab.requests.append(request.url))
    yield tab
    await context.close()


def _note(tab: ConsolePage, kind: str, text: str) -> None:
    if kind == "error":
        (tab.refused if text.startswith(REFUSED) else tab.errors).append(text)
