"""The chat and the threads of the console, in a real browser on the running app."""

from __future__ import annotations

import asyncio
import base64
import struct
import time
import zlib
from typing import Any

import httpx
import pytest
from playwright.async_api import Locator, Page, Route, expect

from local.services import FunctionsHost
from tests.support.console import ConsolePage
from tests.support.served import EmulatorControl

pytestmark = pytest.mark.timeout(600)  # the first run installs the packages

FIRST_TEXT_SECONDS = 1.0
"""From the first piece of an answer on the wire to its text on the screen."""

RUNS = "window.ran = true"
XSS = (
    f"<script>{RUNS}</script>",
    f'<img src=x onerror="{RUNS}">',
    f'<svg onload="{RUNS}"></svg>',
    f'<svg><animate onbegin="{RUNS}" attributeName=x dur=1s>',
    f'<iframe srcdoc="<script>parent.{RUNS}</script>"></iframe>',
    f"[link](javascript:{RUNS.replace(' ', '')})",
    f"[link](JaVaScRiPt&colon;{RUNS.replace(' ', '')})",
    "[link](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "![picture](https://elsewhere.example/pixel.png)",
    f'![picture](x"onerror="{RUNS})',
    '<a href="#/threads" style="position:fixed;inset:0">everywhere</a>',
    "<style>body{display:none}</style><form action=//elsewhere.example><button>go</button></form>",
    f'"><script>{RUNS}</script>',
    f"</title><script>{RUNS}</script>",
    f"<math><mtext><table><mglyph><style><!--</style><img title='--><img src onerror={RUNS}>'>",
    "{{constructor.constructor('window.ran=true')()}} ${window.ran=true}",
    f"```\n</code></pre><script>{RUNS}</script>\n```",
    f"| a |\n|---|\n| <img src=x onerror={RUNS}> |",
)
"""Texts that would run or load something on a careless page."""


def box(page: Page) -> Locator:
    """The box that takes the message."""
    return page.get_by_label("Message", exact=True)


async def send(page: Page, text: str) -> None:
    """Type a message and send it with the keyboard."""
    await box(page).fill(text)
    await page.keyboard.press("Enter")


def answers(page: Page) -> Locator:
    """The answers that are complete."""
    return page.locator(".entry.answer .markdown")


async def test_a_conversation_is_streamed_and_has_an_address(console_page: ConsolePage) -> None:
    page = await console_page.open()
    await send(page, "My name is Ada.")
    await expect(answers(page)).to_have_text("You said: My name is Ada.")
    await expect(page.locator("[aria-live=polite]")).to_have_text(
        "Answer: You said: My name is Ada."
    )
    await expect(box(page)).to_be_focused()
    await send(page, "What is my name?")
    await expect(answers(page).last).to_contain_text("Ada")
    assert "#/chat/thread_" in page.url
    await page.reload()
    await expect(page.locator(".entry")).to_have_count(4)
    await console_page.check()


async def test_a_message_that_is_sent_while_its_thread_is_read_stays(
    console_page: ConsolePage, caller: httpx.AsyncClient
) -> None:
    thread = (await caller.post("threads", json={})).json()["thread_id"]
    await caller.post(f"threads/{thread}/messages", json={"message": "First"})
    page, may_be_read = await console_page.open(), asyncio.Event()

    async def hold(route: Route) -> None:
        read = await route.fetch()
        await may_be_read.wait()
        await route.fulfill(response=read)

    await page.route("**/messages?limit=*", hold)
    await console_page.go(f"#/chat/{thread}")
    await send(page, "Second")
    await expect(page.locator(".entry").first).to_contain_text("Second")
    may_be_read.set()
    await expect(answers(page)).to_have_text(["You said: First", "You said: Second"])
    await expect(page.locator(".entry")).to_have_count(4)


async def test_the_first_text_is_shown_while_the_rest_is_written(
    console_page: ConsolePage, emulator: EmulatorControl
) -> None:
    page = await console_page.open()
    await emulator.inject("slow", seconds=0.05)
    await page.evaluate(WATCH_FIRST_TEXT)
    await send(page, "/words 60")
    await expect(page.locator(".entry.answer .text:not(.markdown)")).to_contain_text("word")
    await expect(answers(page)).to_be_visible()
    received, shown = await page.evaluate("[window.received, window.shown]")
    assert shown - received < FIRST_TEXT_SECONDS * 1000


WATCH_FIRST_TEXT = """
() => {
  const read = ReadableStreamDefaultReader.prototype.read;
  ReadableStreamDefaultReader.prototype.read = async function () {
    const result = await read.call(this);
    if (!window.received && String(result.value ?? "").includes("message.delta"))
      window.received = performance.now();
    return result;
  };
  new MutationObserver(() => {
    const text = document.querySelector(".entry.answer .text")?.textContent;
    if (text && !window.shown) window.shown = performance.now();
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}
"""


async def test_a_stopped_turn_goes_on_and_its_answer_is_shown(
    console_page: ConsolePage, caller: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    page = await console_page.open()
    await emulator.inject("slow", seconds=0.03)
    await send(page, "/words 80")
    await expect(page.locator(".entry.answer .text")).not_to_be_empty()
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("You stopped reading here. The turn goes on")).to_be_visible()
    await console_page.check()
    thread_id = page.url.rpartition("/")[2]
    await until_answered(caller, thread_id)
    await page.get_by_role("button", name="Show the stored answer").click()
    await expect(answers(page)).to_contain_text("word")
    await send(page, "Go on")
    await expect(answers(page).last).to_have_text("You said: Go on")


async def until_answered(caller: httpx.AsyncClient, thread_id: str) -> None:
    """Wait for the answer of the turn that still runs."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        page = (await caller.get(f"threads/{thread_id}/messages")).json()
        if any(each["role"] == "assistant" for each in page["data"]):
            return
        await asyncio.sleep(0.1)
    pytest.fail("the turn did not end")


async def test_a_failure_shows_its_code_and_request_id(
    console_page: ConsolePage, emulator: EmulatorControl
) -> None:
    page = await console_page.open()
    await emulator.inject("status", status=400, body={"error": {"message": "<b>no</b>"}})
    await send(page, "Hello")
    problem = page.get_by_role("alert")
    await expect(problem).to_contain_text("request req_")
    await expect(problem.get_by_role("button", name="Copy id")).to_be_visible()
    await console_page.check()
    await page.get_by_role("button", name="Try again").click()
    await expect(answers(page)).to_have_text("You said: Hello")
    await expect(page.locator(".entry")).to_have_count(2)


async def test_a_message_whose_answer_was_cut_is_sent_once(
    console_page: ConsolePage, caller: httpx.AsyncClient
) -> None:
    """The connection is cut after the app took the message; trying again repeats its key."""
    page = await console_page.open()

    async def cut(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await page.route("**/messages?*", cut, times=1)
    await send(page, "Once")
    await expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    await page.get_by_role("button", name="Try again").click()
    await expect(answers(page)).to_have_text("You said: Once")
    history = await caller.get(f"threads/{page.url.rpartition('/')[2]}/messages")
    assert [each["content"] for each in history.json()["data"]] == ["You said: Once", "Once"]


@pytest.mark.parametrize(("button", "says"), [("Approve", "found it"), ("Deny", "denied")])
async def test_a_tool_that_asks_is_answered(
    console_page: ConsolePage, button: str, says: str
) -> None:
    page = await console_page.open()
    await send(page, '/mcp search {"q": "x"}')
    requests = page.get_by_role("group", name="Requests of tools")
    await expect(requests).to_contain_text("search of docs wants to run")
    await console_page.check()
    await requests.get_by_role("button", name=button).click()
    await expect(answers(page).last).to_contain_text(f"search answered: {says}")


async def test_pictures_and_options_are_sent_and_shown_as_code(console_page: ConsolePage) -> None:
    page = await console_page.open()
    await page.get_by_label("Pictures").set_input_files(
        [{"name": "a.png", "mimeType": "image/png", "buffer": PNG}]
    )
    await expect(page.get_by_alt_text("Picture 1, to be sent")).to_be_visible()
    await box(page).fill("Look at this")
    await page.get_by_text("Show as code").click()
    code = page.get_by_label("The request as code")
    await expect(code).to_contain_text("curl -N")
    for language, part in (("Python", "httpx.post"), ("OpenAI SDK", "client.responses.create")):
        await page.get_by_label("Language").select_option(language)
        await expect(code).to_contain_text(part)
    await console_page.check()
    async with page.expect_request("**/messages?*") as sent:
        await box(page).press("Enter")
    body: Any = (await sent.value).post_data_json
    assert body["images"] == ["data:image/png;base64," + base64.b64encode(PNG).decode()]
    assert (await sent.value).headers["x-aos-console"] == "1"
    # the emulated deployment takes no pictures
    await expect(page.get_by_role("alert")).to_contain_text("Image input is not supported")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(b"\0" + b"\xff\0\0" * 2 + b"\0" + b"\0\xff\0" * 2))
    + _chunk(b"IEND", b"")
)
"""A picture of two by two points."""


async def test_no_text_of_a_caller_or_a_model_runs(
    console_page: ConsolePage, caller: httpx.AsyncClient
) -> None:
    everything = "\n\n".join(XSS)
    metadata = {f"key{n}<b>": text for n, text in enumerate(XSS[:12])} | {"title": XSS[0]}
    thread = (await caller.post("threads", json={"metadata": metadata})).json()["thread_id"]
    page = await console_page.open(f"#/chat/{thread}")
    await send(page, f"/answer {everything}")
    await expect(answers(page)).to_contain_text("everywhere")
    await no_harm(console_page)
    await page.reload()
    await expect(answers(page)).to_contain_text("everywhere")
    await no_harm(console_page)
    for link in await answers(page).locator("a").all():
        address = await link.get_attribute("href")
        assert address is None or address.startswith("https://elsewhere.example/"), address
        assert await link.get_attribute("rel") == "noopener noreferrer"
    await console_page.go("#/threads")
    await expect(page.get_by_role("link", name=XSS[0])).to_be_visible()
    await no_harm(console_page)


async def no_harm(console_page: ConsolePage) -> None:
    """Nothing ran, and nothing of another kind than text came to the page."""
    page = console_page.page
    assert await page.evaluate("window.ran") is None
    foreign = "main :is(script, iframe, svg, math, style, object, img:not(.picture), [style])"
    assert await page.locator(foreign).count() == 0
    await console_page.check_quiet()


async def test_a_problem_with_html_is_shown_as_text(console_page: ConsolePage) -> None:
    problem = {"status": 422, "code": XSS[0], "detail": XSS[1], "request_id": XSS[2]}
    problem["errors"] = [{"field": XSS[3], "reason": XSS[4]}]  # type: ignore[assignment]

    async def refuse(route: Route) -> None:
        await route.fulfill(status=422, json=problem, content_type="application/problem+json")

    await console_page.page.route("**/api/threads?**", refuse)
    page = await console_page.open("#/threads")
    await expect(page.get_by_role("alert")).to_contain_text(XSS[1])
    await no_harm(console_page)


async def test_threads_are_found_renamed_and_deleted(
    console_page: ConsolePage, caller: httpx.AsyncClient
) -> None:
    case = f"case-{time.time_ns()}"
    for title in ("First", "Second"):
        body = {"metadata": {"title": title, "case": case}, "expires_in": 3600}
        assert (await caller.post("threads", json=body)).status_code == 201
    page = await console_page.open("#/threads")
    await page.get_by_label("Metadata").fill("case")
    await page.get_by_label("is exactly").fill(case)
    await page.get_by_role("button", name="Search", exact=True).click()
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(2)
    await console_page.check()
    await page.get_by_role("button", name="Rename First").click()
    await page.get_by_role("textbox", name="Title of the thread").fill("Third")
    await console_page.check()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="Third")).to_be_visible()
    await page.get_by_role("button", name="Delete Third").click()
    await page.get_by_role("button", name="Cancel").click()
    await expect(rows).to_have_count(2)
    await page.get_by_role("button", name="Delete Third").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(rows).to_have_count(1)
    found = (await caller.get("threads", params={"metadata.case": case})).json()["data"]
    assert [each["metadata"]["title"] for each in found] == ["Second"]


async def test_the_chat_can_be_used_with_the_keyboard_alone(
    console_page: ConsolePage,
) -> None:
    page = await console_page.open()
    names = await tab_order(page)
    wanted = ["Skip to content", "Chat", "Threads", "message", "Send", "model", "pictures"]
    places = [names.index(name) for name in wanted]
    assert places == sorted(places), names


async def tab_order(page: Page) -> list[str]:
    """What Tab reaches, in order, until it leaves the page."""
    found: list[str] = []
    for _ in range(40):
        await page.keyboard.press("Tab")
        name = await page.evaluate(
            "document.activeElement === document.body ? ''"
            " : document.activeElement.id || document.activeElement.textContent.trim()"
        )
        if not name:
            break
        found.append(name)
    return found


async def test_an_idle_console_asks_for_nothing(
    app: FunctionsHost, console_page: ConsolePage
) -> None:
    page = await console_page.open()
    await page.wait_for_load_state("networkidle")
    before = len(console_page.requests)
    await page.clock.install()
    await page.clock.run_for(60_000)
    await page.wait_for_load_state("networkidle")
    assert len(console_page.requests) == before
