"""The console's screens of jobs, usage, budgets, audit, status and keys, on the running app."""

from __future__ import annotations

import asyncio
import json
import os
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ResourceExistsError
from azure.data.tables.aio import TableClient
from playwright.async_api import Browser, Page, expect

from local.services import ROOT, Azurite, FoundryEmulator
from shared.audit.trail import AuditOutcome
from shared.metering.counts import Counts, View
from shared.metering.rows import ScopeView, scope_key
from shared.state.days import day_partition
from tests.support import forking
from tests.support.asking import ended, say, submit
from tests.support.client_keys import bearer
from tests.support.console import DESKTOP, HEIGHT, PHONE, ConsolePage, console_tab
from tests.support.leaks import leaks
from tests.support.served import Deployment, EmulatorControl

pytestmark = pytest.mark.timeout(600)  # the first run installs the packages

REPLIES = f"replies-{uuid.uuid4().hex[:12]}"
SETTINGS = {
    "AUTH_MODE": "keys",
    "REPLY_QUEUES": REPLIES,
    "PRICES": json.dumps({"currency": "EUR", "models": {"*": {"input": 600, "output": 700}}}),
    "BUDGETS": json.dumps(
        [
            {"owner": "*", "tokens": 100_000, "per": "day"},
            {"owner": "*", "money": 50, "per": "month"},
            {"owner": "*", "concurrent": 10},
        ]
    ),
}
FILTERED = {"error": {"code": "content_filter", "message": "The filter stopped the question."}}

PICTURES = ROOT / "docs" / "console"
DRAWS = os.environ.get("CONSOLE_PICTURES") == "1"
"""Whether the pictures of docs/console.md are made anew."""
PICTURE_HEIGHT = 640

PAGE = (ROOT / "docs" / "console.md").read_text("utf-8")
IDLE = dict(re.findall(r"^\| (Jobs|Status|Audit, followed)\b[^|]*\| (\d+)", PAGE, re.MULTILINE))
"""The requests a minute of an idle console, by screen."""


@dataclass(frozen=True)
class Office:
    """An app with prices, budgets and client keys, and the key of its admin."""

    url: str
    admin: str
    deployment: Deployment

    def client(self, key: str = "") -> httpx.AsyncClient:
        headers = bearer(key or self.admin)
        return httpx.AsyncClient(base_url=f"{self.url}/api/", headers=headers, timeout=30)


@pytest.fixture(scope="module")
async def office(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    own = Deployment(azurite.connection_string, foundry)
    create = ("shared.commands.keys", "create", "--label", "operator", "--admin")
    environment = {**os.environ, **own.environment(**SETTINGS)}
    made = await asyncio.to_thread(forking.run, *create, environment=environment)
    assert made.returncode == 0, made.stderr
    with own.serve(tmp_path_factory.mktemp("office"), **SETTINGS) as host:
        yield Office(host.url, made.stdout.strip(), own)
    assert leaks(await own.everything()) == []
    assert await own.of_no_kind() == []


@pytest.fixture
async def tab(office: Office, browser: Browser) -> AsyncIterator[ConsolePage]:
    async with console_tab(browser, office.url, key=office.admin) as tab:
        yield tab


@pytest.fixture
async def caller(office: Office) -> AsyncIterator[httpx.AsyncClient]:
    async with office.client() as client:
        yield client


async def draw(
    tab: ConsolePage, name: str, *, on_phone: bool = False, height: int = PICTURE_HEIGHT
) -> None:
    """Check the screen, and where pictures are made, take those of the documentation."""
    await tab.check()
    if not DRAWS:
        return
    for width, suffix in ((DESKTOP, ""), (PHONE, "-phone"))[: 1 + on_phone]:
        await tab.page.emulate_media(color_scheme="light")
        await tab.page.set_viewport_size({"width": width, "height": height})
        await tab.page.wait_for_timeout(100)  # the plot follows its frame
        PICTURES.mkdir(exist_ok=True)
        await tab.page.screenshot(path=PICTURES / f"{name}{suffix}.png")


def read(path: Path, encoding: str = "utf-8") -> str:
    """The text of a file that the browser saved."""
    return path.read_text(encoding)


def status(page: Page) -> Any:
    """The status of the job that is shown."""
    return page.locator("main .heading .badge")


async def test_a_job_is_submitted_and_watched_to_its_end(
    tab: ConsolePage, emulator: EmulatorControl
) -> None:
    await emulator.inject("slow", seconds=0.1)
    page = await tab.open("#/jobs/new")
    await page.get_by_label("Message 1").fill("My name is Ada.")
    await page.get_by_role("button", name="Add a message").click()
    await page.get_by_label("Message 2").fill("What is my name?")
    await page.get_by_label("Callback address").fill("https://elsewhere.example/hook")
    await page.get_by_role("button", name="Submit job").click()
    await expect(page.get_by_role("alert")).to_contain_text("callback_url")
    await tab.check()
    await page.get_by_label("Callback address").fill("")
    await page.get_by_label("Not before").fill("2026-01-01T09:30")
    await page.get_by_label("Reply queue").fill(REPLIES)
    await page.get_by_role("button", name="Submit job").click()
    await expect(status(page)).to_have_text("succeeded", timeout=30_000)
    assert re.search(r"#/jobs/job_\w+$", page.url)
    await expect(page.locator(".messages .asked")).to_have_text(
        ["My name is Ada.", "What is my name?"]
    )
    await expect(page.locator(".messages li").nth(1)).to_contain_text("Your name is Ada.")
    await expect(page.locator(".timeline b")).to_have_text(
        ["Submitted", "Started", "Message 1 answered", "Message 2 answered", "Ended: succeeded"]
    )
    facts = page.locator(".job-facts")
    await expect(facts).to_contain_text("Not before")
    await expect(facts).to_contain_text("delivered", timeout=20_000)
    await expect(facts).to_contain_text(REPLIES)
    await draw(tab, "job")
    await page.get_by_role("link", name="Jobs of this thread").click()
    await expect(page.locator("tbody tr")).to_have_count(1)


async def test_a_job_that_failed_is_run_again_as_a_new_one(
    tab: ConsolePage, caller: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    await emulator.inject("status", status=400, body=FILTERED)
    failed = await ended(caller, await submit(caller, message="Hello", metadata={"ticket": "9"}))
    page = await tab.open(f"#/jobs/{failed['job_id']}")
    await expect(status(page)).to_have_text("failed")
    await expect(page.locator(".timeline .bad .badge")).to_have_text("content_filter")
    await expect(page.get_by_role("alert")).to_contain_text(failed["problem"]["detail"])
    await draw(tab, "failed-job", on_phone=True)
    await page.get_by_role("button", name="Run again").click()
    await page.wait_for_function("(old) => !location.hash.endsWith(old)", arg=failed["job_id"])
    await expect(status(page)).to_have_text("succeeded", timeout=30_000)
    await expect(page.locator(".messages li")).to_contain_text("You said: Hello")
    await expect(page.locator(".job-facts")).to_contain_text("metadata.ticket")
    jobs = (await caller.get("jobs")).json()["data"]
    assert [job["status"] for job in jobs[:2]] == ["succeeded", "failed"]


async def test_a_waiting_job_is_cancelled_after_a_question(
    tab: ConsolePage, caller: httpx.AsyncClient
) -> None:
    job_id = await submit(caller, message="Later", not_before="2100-01-01T00:00:00Z")
    page = await tab.open(f"#/jobs/{job_id}")
    await page.get_by_role("button", name="Cancel job").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    await tab.check()
    await dialog.get_by_role("button", name="Cancel", exact=True).click()
    assert (await caller.get(f"jobs/{job_id}")).json()["status"] == "queued"
    await page.get_by_role("button", name="Cancel job").click()
    await dialog.get_by_role("button", name="Cancel job").click()
    await expect(status(page)).to_have_text("cancelled")


async def test_the_list_counts_and_filters_and_follows_by_itself(
    tab: ConsolePage, caller: httpx.AsyncClient
) -> None:
    await ended(caller, await submit(caller, message="Hello"))
    page = await tab.open("#/jobs")
    tiles = page.get_by_role("navigation", name="Jobs by status")
    counts = (await caller.get("jobs", params={"counts": "true"})).json()["counts"]
    await expect(tiles.get_by_role("link", name="succeeded")).to_have_text(
        f"{counts['succeeded']} succeeded"
    )
    job_id = await submit(caller, message="Hello again")
    await expect(page.get_by_role("link", name=job_id)).to_be_visible(timeout=10_000)
    await draw(tab, "jobs")
    await tiles.get_by_role("link", name="expired").click()
    await expect(page.get_by_text("No such jobs yet.")).to_be_visible()


async def spread_over_days(deployment: Deployment, owner: str) -> None:
    """Write what an instance would have written in the last days: turns of two departments."""
    today = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0)
    scope_view = ScopeView(scope_key(owner), View.USAGE)
    storage = deployment.storage, deployment.metrics
    async with TableClient.from_connection_string(*storage) as table:
        with suppress(ResourceExistsError):
            await table.create_table()
        for days in range(1, 25):
            for department, turns in (("law", 3 + days % 7), ("finance", 2 + days * days % 5)):
                tokens = 40 * turns
                counts = Counts(requests=turns, total_tokens=tokens, cost=tokens * 650_000)
                key = (owner, department, "", "general", "llama-3.3-70b", "", "api")
                moment = today - timedelta(days=days)
                change = scope_view.minute_change(moment, "an-instance", key, counts)
                partition = day_partition(scope_view.scope, moment.date())
                row = {"PartitionKey": partition, "RowKey": change.row_key, **change.values}
                await table.upsert_entity(row)


async def test_usage_is_plotted_with_a_table_and_saved_as_a_table(
    tab: ConsolePage, office: Office, caller: httpx.AsyncClient
) -> None:
    await spread_over_days(office.deployment, (await caller.get("me")).json()["owner"])
    formula = "=hyperlink(1)"
    for department in ("law", "finance", formula):
        metadata = {"department": department}
        answer = await caller.post("messages", json={"message": "Hello", "metadata": metadata})
        assert answer.status_code == 200, answer.text
    page = await tab.open("#/usage")
    await expect(page.get_by_role("img")).to_be_visible()
    await expect(page.locator(".plot canvas")).to_be_visible()
    today = (await caller.get("usage")).json()["groups"][-1]
    row = page.get_by_role("table", name="Usage by day").locator("tbody tr").last
    await expect(row.locator("td").nth(1)).to_have_text(str(today["requests"]))
    await page.get_by_label("By", exact=True).select_option("department")
    table = page.get_by_role("table", name="Usage by department")
    await expect(table).to_contain_text(formula)
    await page.get_by_label("Plot", exact=True).select_option("requests")
    await page.get_by_text("Values of the plot").click()
    values = page.get_by_role("table", name="Turns by day and department").locator("tbody tr")
    await expect(values).to_have_count(25)
    await expect(values.first.locator("td").nth(1)).to_have_text("6")
    await page.get_by_text("Values of the plot").click()
    await draw(tab, "usage", on_phone=True)
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download CSV").click()
    saved = read(await (await download.value).path(), "utf-8-sig")
    assert saved.startswith("day,department,requests,")
    assert f",'{formula}," in saved


async def test_budgets_say_what_is_left(tab: ConsolePage, caller: httpx.AsyncClient) -> None:
    page = await tab.open("#/budgets")
    owner = (await caller.get("me")).json()["owner"]
    table = page.get_by_role("table", name=f"Budgets of {owner}")
    await expect(table).to_contain_text("tokens per day")
    await expect(table).to_contain_text("50.00 EUR")
    await draw(tab, "budgets")


async def test_the_audit_trail_is_filtered_followed_and_saved(
    tab: ConsolePage, caller: httpx.AsyncClient
) -> None:
    job_id = await submit(caller, message="Hello", not_before="2100-01-01T00:00:00Z")
    page = await tab.open("#/audit")
    await page.get_by_label("Action").select_option("job_submit")
    await page.get_by_label("Job", exact=True).fill(job_id)
    await page.get_by_role("button", name="Apply").click()
    records = page.get_by_role("table", name="Records, newest first").locator("tbody tr")
    await expect(records).to_have_count(1)
    await expect(records).to_contain_text(job_id)
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Export NDJSON").click()
    saved = read(await (await download.value).path())
    assert [json.loads(line)["job_id"] for line in saved.splitlines()] == [job_id]
    await tab.go("#/audit")
    await page.get_by_role("button", name="Follow").click()
    await caller.post(f"jobs/{job_id}/cancel")
    await expect(records.first).to_contain_text("job_cancel", timeout=20_000)
    await draw(tab, "audit")


async def test_status_names_what_is_missing(tab: ConsolePage) -> None:
    page = await tab.open("#/status")
    table = page.get_by_role("table", name="Dependencies")
    await expect(table).to_contain_text("foundry")
    await expect(page.get_by_role("table", name="Queues").locator("tbody tr")).to_have_count(3)
    await draw(tab, "status")
    detail = "The app lacks the role Foundry User. <img src=x onerror=fail()>"
    check = {"status": "failed", "latency_ms": 3.1, "detail": detail}
    problem = {"status": 503, "code": "not_ready", "ready": False, "checks": {"foundry": check}}
    await page.route(
        "**/api/health/ready*",
        lambda route: route.fulfill(
            status=503, content_type="application/problem+json", body=json.dumps(problem)
        ),
    )
    lost = {"status": 503, "code": "storage_unavailable", "detail": "There is no storage."}
    await page.route(
        "**/api/metrics*",
        lambda route: route.fulfill(
            status=503, content_type="application/problem+json", body=json.dumps(lost)
        ),
    )
    await page.get_by_role("button", name="Refresh").click()
    await expect(table).to_contain_text(detail)
    await expect(page.get_by_role("alert")).to_contain_text("There is no storage.")
    await expect(page.get_by_text("not ready", exact=True)).to_be_visible()
    await tab.check()


async def test_a_key_is_made_used_and_revoked(tab: ConsolePage, office: Office) -> None:
    page = await tab.open("#/keys")
    await page.get_by_label("What it is for").fill("reports")
    await page.get_by_label("Department").fill("finance")
    await page.get_by_label("Tokens per day").fill("5000")
    await page.get_by_role("button", name="Create key").click()
    shown = page.get_by_label("The new key")
    await expect(shown).to_be_focused()
    key = await shown.input_value()
    async with office.client(key) as client:
        assert (await client.get("me")).json()["departments"] == ["finance"]
        await tab.check()
        await page.get_by_role("button", name="Hide it").click()
        await expect(shown).to_have_count(0)
        await draw(tab, "keys")
        await page.get_by_role("button", name="Revoke reports").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke key").click()
        await expect(page.get_by_role("table", name="Client keys")).to_contain_text("revoked")
        assert (await client.get("me")).status_code == 401
    assert key not in await page.content()


async def test_a_conversation_is_among_the_threads(
    tab: ConsolePage, caller: httpx.AsyncClient
) -> None:
    titled = {"metadata": {"title": "A question about leave"}}
    thread_id = (await caller.post("threads", json=titled)).json()["thread_id"]
    for message in ("My name is Ada.", "What is my name?"):
        await say(caller, thread_id, message)
    page = await tab.open(f"#/chat/{thread_id}")
    await expect(page.locator("main")).to_contain_text("Your name is Ada.")
    await draw(tab, "chat", height=HEIGHT)
    await tab.go("#/threads")
    await expect(page.locator("main")).to_contain_text("A question about leave")
    await draw(tab, "threads")


async def test_who_has_the_function_key_sees_details_and_manages_client_keys(
    console_page: ConsolePage,
) -> None:
    page = await console_page.open("#/status")
    await expect(page.get_by_role("table", name="Queues").locator("tbody tr")).to_have_count(3)
    await page.get_by_role("link", name="Keys").click()
    await page.get_by_label("What it is for").fill("made with the function key")
    await page.get_by_role("button", name="Create key").click()
    await expect(page.get_by_label("The new key")).to_have_value(re.compile("^aos_"))
    await page.get_by_role("button", name="Revoke made with the function key").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke key").click()
    await expect(page.get_by_role("table", name="Client keys")).to_contain_text("revoked")


SCREENS = ("chat", "threads", "jobs", "usage", "budgets", "audit", "status", "keys")


async def test_a_user_sees_every_screen_but_keys_and_asks_for_nothing_refused(
    office: Office, browser: Browser, caller: httpx.AsyncClient
) -> None:
    made = await caller.post("keys", json={"label": "user"})
    async with console_tab(browser, office.url, key=made.json()["key"]) as tab:
        page = await tab.open("#/jobs")
        links = page.get_by_role("navigation", name="Screens").get_by_role("link")
        await expect(links).to_have_count(len(SCREENS) - 1)
        for screen in SCREENS[:-1]:
            await tab.go(f"#/{screen}")
            await expect(page.locator("main h1")).to_have_text(screen.title())
            await expect(page.locator("main .loading")).to_have_count(0)
        await expect(page.get_by_role("table", name="Dependencies")).to_contain_text("ok")
        assert tab.refused == []
        await tab.check()


async def test_an_admin_sees_every_screen_of_another_owner(
    tab: ConsolePage, caller: httpx.AsyncClient
) -> None:
    other = (await caller.post("keys", json={"label": "other"})).json()["owner"]
    await tab.page.add_init_script(f"sessionStorage.setItem('console.owner', '{other}')")
    page = await tab.open("#/jobs")
    await expect(page.get_by_text("No such jobs yet.")).to_be_visible()
    for screen in SCREENS:
        await tab.go(f"#/{screen}")
        await expect(page.locator("main h1")).to_have_text(screen.title())
        await expect(page.locator("main .loading")).to_have_count(0)
        await expect(page.get_by_role("alert")).to_have_count(0)
    await expect(page.get_by_role("table", name="Client keys")).to_contain_text(other)
    assert tab.refused == []


HOSTILE = (
    "<script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 1'>",
    "\"><svg onload='window.ran = 1'>",
    "javascript:window.ran=1//<iframe srcdoc='<script>parent.ran=1</script>'>",
    "${window.ran = 1}{{constructor.constructor('window.ran=1')()}}",
)
"""Texts that a page which takes them for HTML, an address or a template would run."""


async def test_no_text_of_a_caller_or_a_model_runs(
    tab: ConsolePage, office: Office, caller: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    text = "\n".join(HOSTILE)
    error = {"error": {"code": "content_filter", "message": text}}
    await emulator.inject("status", status=400, body=error)
    metadata = {f"k{number}": each for number, each in enumerate(HOSTILE)}
    labels = {"department": HOSTILE[0], "user_id": HOSTILE[1]}
    failed = await submit(caller, message=text, metadata=metadata)
    await ended(caller, failed)
    options: dict[str, Any] = {"domain": HOSTILE[2], "metadata": labels}
    done = await submit(caller, messages=[text, text], **options)
    await ended(caller, done)
    key = {"label": HOSTILE[1], "department": HOSTILE[0], "models": list(HOSTILE)}
    made = await caller.post("keys", json=key)
    assert made.status_code == 201, made.text
    async with office.client(made.json()["key"]) as other:
        assert (await other.get("keys")).status_code == 403
    for screen, shown in (
        (f"#/jobs/{failed}", "onerror"),
        (f"#/jobs/{done}", "onerror"),
        ("#/jobs", failed),
        ("#/keys", "onerror"),
        ("#/audit?action=key_create", "key_create"),
        (f"#/audit?all_owners=true&outcome={AuditOutcome.REFUSED}", "onerror"),
        ("#/audit?action=%3Cimg%20src%3Dx%20onerror%3Dfail()%3E", "action"),
        ("#/jobs/%3Cimg%20src=x%20onerror=fail()%3E", "There is no"),
        ("#/usage", "Usage by day"),
    ):
        page = await tab.open(screen)
        await expect(page.locator("main")).to_contain_text(shown)
        assert await page.evaluate("window.ran === undefined"), screen
        assert await page.locator("main :is(script, iframe, svg, main img)").count() == 0
    for group in ("department", "user_id", "domain"):
        await page.get_by_label("By", exact=True).select_option(group)
        await expect(page.locator(".legend")).to_contain_text("window.ran = 1")
    assert await page.evaluate("window.ran === undefined")
    assert (tab.errors, await tab.violations(), tab.elsewhere) == ([], [], [])


@pytest.mark.parametrize("screen", ["Jobs", "Status", "Audit, followed", "Budgets"])
async def test_an_idle_console_asks_seldom_and_a_hidden_one_never(
    tab: ConsolePage, screen: str
) -> None:
    page = tab.page
    await page.clock.install()
    name, _, follows = screen.partition(", ")
    await tab.open(f"#/{name.lower()}")
    if follows:
        await page.get_by_role("button", name="Follow").click()
    await page.wait_for_load_state("networkidle")
    await _pass(page, minutes=2)
    before = len(tab.requests)
    await _pass(page, minutes=2)
    assert len(tab.requests) - before == 2 * int(IDLE.get(screen, "0"))
    await page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    hidden = len(tab.requests)
    await _pass(page, minutes=1)
    assert len(tab.requests) == hidden


async def _pass(page: Page, minutes: int) -> None:
    """Let time pass in the page, in steps that leave its requests time to be answered."""
    for _ in range(minutes * 2):
        await page.clock.run_for(30_000)
        await page.wait_for_load_state("networkidle")
