"""What users see, and the exit code, where something is wrong."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from local.processes import free_port
from local.services import ROOT, FunctionsHost
from tests.support.leaks import leaks
from tests.support.served import EmulatorControl
from tests.support.terminal import INTERRUPT, Aos
from tests.support.waiting import eventually

HANG_SECONDS = 8.0


def test_a_wrong_key_asks_to_sign_in(app: FunctionsHost, key: str, tmp_path: Path) -> None:
    wrong = Aos(tmp_path, app.url, {"AOS_KEY": f"{key[:-8]}AAAAAAAA"})
    for result in (wrong.run("threads", "ls"), wrong.pipe("chat", "Hi")):
        assert result.code == 3
        shown = (result.plain + result.err).splitlines()[-2:]
        assert shown[0].startswith("error: ")
        assert "(unauthorized, " in shown[0]
        assert shown[1] == "Sign in: aos login"
        assert leaks(result.out + result.err) == []


def test_a_server_that_is_gone_is_worth_another_try(tmp_path: Path) -> None:
    gone = Aos(tmp_path, f"http://127.0.0.1:{free_port()}")
    for command in (["whoami"], ["chat", "Hi"], ["jobs", "submit", "Hi"], ["threads", "ls"]):
        result = gone.run(*command)
        assert result.code == 75
        assert "cannot be reached" in result.plain


async def test_a_full_budget_says_where_to_look(
    admin: httpx.AsyncClient, app: FunctionsHost, tmp_path: Path
) -> None:
    body = {"label": "full", "budgets": [{"requests": 1, "per": "day"}]}
    key = (await admin.post("keys", json=body)).json()["key"]
    aos = Aos(tmp_path, app.url, {"AOS_KEY": key})
    assert (await asyncio.to_thread(aos.run, "chat", "Hi")).code == 0
    for columns in (120, 40):
        refused = await asyncio.to_thread(lambda: aos.run("chat", "Hi", columns=columns))  # noqa: B023
        assert refused.code in {1, 75}
        assert "(budget_exhausted, " in refused.plain
        assert refused.plain.endswith("See what is left and when it resets: aos budgets\n")


async def test_a_busy_thread_can_be_waited_for(aos: Aos, emulator: EmulatorControl) -> None:
    created = await asyncio.to_thread(aos.pipe, "threads", "new")
    thread = json.loads(created.out)["thread_id"]
    await emulator.inject("hang", seconds=HANG_SECONDS)
    asked = len(await emulator.requests("responses.create"))
    first = await asyncio.to_thread(aos.start, "chat", "-t", thread, "First")

    async def is_asked() -> bool:
        return len(await emulator.requests("responses.create")) > asked

    await eventually(is_asked)
    shown = await asyncio.to_thread(aos.run, "chat", "-t", thread, "Second")
    assert "(thread_busy, " in shown.plain
    assert "Wait for the other turn: --wait 100" in shown.plain
    first.type(INTERRUPT)
    stopped = await asyncio.to_thread(first.wait)
    assert stopped.code == 130
    assert "the turn goes on" in stopped.plain
    assert f"aos threads messages {thread}" in stopped.plain
    third = await asyncio.to_thread(aos.pipe, "chat", "-t", thread, "Third", "--wait", "60")
    assert third.out == "You said: Third\n"
    said = await asyncio.to_thread(aos.pipe, "threads", "messages", thread)
    assert "You said: First" in said.out  # the turn went on


def test_streams_that_are_closed_are_no_fault(aos: Aos) -> None:
    command = f"{sys.executable} -m cli threads ls -o jsonl; echo $? >&2"
    for _ in range(3):
        aos.pipe("threads", "new")
    done = subprocess.run(  # noqa: S602 - a fixed command
        f"({command}) | true; {sys.executable} -m cli chat <&- >&-; echo $? >&2",
        shell=True,
        cwd=ROOT,
        env={**aos.environment, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    broken, missing, advice, closed = done.stderr.splitlines()
    assert (broken, missing, closed) == ("141", "error: there is no message", "2")
    assert advice.startswith("Such as: aos chat")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["bogus"], "there is no command bogus"),
        (["thread"], "see: aos threads"),
        (["threads", "ls", "--bogus"], "No such option: --bogus"),
        (["threads", "show"], "Missing argument"),
        (["threads", "ls", "--limit", "0"], "Invalid value"),
        (["chat", "-t", "x", "--new", "Hi"], "not both"),
        (["chat", "Hi", "--image", "x.gif"], "is not an image"),
        (["chat", "Hi", "--schema", "/nowhere"], "cannot be read"),
        (["jobs", "submit", "--file", "/nowhere"], "cannot be read"),
        (["jobs", "submit", "Hi", "--metadata", "pair"], "NAME=VALUE"),
        (["whoami", "--profile", "other"], "there is no profile other"),
        (["whoami", "--url", "ftp://x"], "must begin with http"),
        (["whoami", "--url", "http://example.com"], "over https:// only"),
        (["whoami", "--key", "a\nb"], "characters that no key has"),
        (["threads", "rm", "thread_x"], "cannot be undone"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    aos: Aos, arguments: list[str], reason: str
) -> None:
    result = aos.pipe(*arguments)
    assert (result.code, result.out) == (2, "")
    assert reason in result.err
    assert "Traceback" not in result.err
    assert leaks(result.err) == []
