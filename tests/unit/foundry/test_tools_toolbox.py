"""Running calls: every call gets exactly one answer, whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from shared.config import FoundryAgentServiceConfig
from shared.foundry.errors import InvalidRequestError
from shared.foundry.tools import FunctionCall, Toolbox, ToolError, function_calls, tool
from shared.foundry.tools.calls import MAX_OUTPUT_CHARACTERS

DEADLINE_SECONDS = 10

caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")


@dataclass
class Receipt:
    total: Decimal
    lines: list[str]


@tool
async def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello {name}"


@tool
def receipt(lines: list[str]) -> Receipt:
    """Write a receipt."""
    return Receipt(Decimal("9.50"), lines)


@tool
def thread_name() -> dict[str, str]:
    """Tell where this runs and for whom."""
    return {"thread": threading.current_thread().name, "caller": caller.get()}


@tool
async def explode() -> str:
    """Fail."""
    raise RuntimeError("the password is hunter2")


@tool
def leave() -> str:
    """Try to end the process."""
    raise SystemExit(3)


@tool
async def no_such_city() -> str:
    """Fail with a reason."""
    raise ToolError("There is no such city.")


@tool
async def gives_up() -> str:
    """Cancel itself."""
    raise asyncio.CancelledError


@tool
async def own_timeout() -> str:
    """Fail as if something inside timed out."""
    raise TimeoutError


@tool(timeout=0.05)
async def forever() -> str:
    """Never return."""
    await asyncio.Event().wait()
    return ""


@tool
async def unserialisable() -> object:
    """Return what JSON cannot say."""
    return object()


@tool
async def long_text(characters: int) -> str:
    """Return a long text."""
    return "x" * characters


TOOLS = [
    greet,
    receipt,
    thread_name,
    explode,
    leave,
    no_such_city,
    gives_up,
    own_timeout,
    forever,
    unserialisable,
    long_text,
]


@pytest.fixture
def toolbox() -> Iterator[Toolbox]:
    box = Toolbox(TOOLS)
    yield box
    box.close()


def call(function: str, call_id: str = "call_1", /, **arguments: Any) -> FunctionCall:
    return FunctionCall(call_id, function, json.dumps(arguments))


async def test_calls_are_answered_in_order(toolbox: Toolbox) -> None:
    outputs = await toolbox.run(
        [call("greet", "a", name="Ada"), call("receipt", "b", lines=["tea"])]
    )
    assert [output.to_item() for output in outputs] == [
        {"type": "function_call_output", "call_id": "a", "output": "Hello Ada"},
        {
            "type": "function_call_output",
            "call_id": "b",
            "output": '{"total":"9.50","lines":["tea"]}',
        },
    ]
    assert all(output.succeeded for output in outputs)
    assert await toolbox.run([]) == []


async def test_parallel_calls_run_in_parallel() -> None:
    async_meeting, thread_meeting = asyncio.Barrier(2), threading.Barrier(2)

    @tool
    async def meet() -> str:
        """Wait for another call."""
        await async_meeting.wait()
        return "met"

    @tool
    def meet_in_thread() -> str:
        """Wait for another call."""
        thread_meeting.wait(DEADLINE_SECONDS)
        return "met"

    box = Toolbox([meet, meet_in_thread])
    names = ["meet", "meet", "meet_in_thread", "meet_in_thread"]
    async with asyncio.timeout(DEADLINE_SECONDS):
        outputs = await box.run([call(name, str(n)) for n, name in enumerate(names)])
    box.close()
    assert [output.output for output in outputs] == ["met"] * 4


async def test_a_sync_tool_runs_in_a_thread_with_the_callers_context(toolbox: Toolbox) -> None:
    caller.set("ada")
    (output,) = await toolbox.run([call("thread_name")])
    seen = json.loads(output.output)
    assert seen["thread"].startswith("tool")
    assert seen["caller"] == "ada"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (call("nothing"), "There is no tool 'nothing'. Known tools: explode, forever"),
        (FunctionCall("c", "greet", "{not json"), "The arguments are wrong: Invalid JSON"),
        (call("greet"), "name: Missing required argument"),
        (call("greet", name=3), "name: Input should be a valid string"),
        (call("explode"), "The tool failed (RuntimeError)."),
        (call("leave"), "The tool failed (SystemExit)."),
        (call("own_timeout"), "The tool failed (TimeoutError)."),
        (call("no_such_city"), "There is no such city."),
        (call("gives_up"), "The tool was stopped before it finished."),
        (call("forever"), "The tool gave no result within 0.05 s."),
        (call("unserialisable"), "could not be written as JSON"),
    ],
    ids=lambda value: value.name if isinstance(value, FunctionCall) else "",
)
async def test_a_call_that_fails_is_answered_with_the_reason(
    toolbox: Toolbox, asked: FunctionCall, said: str
) -> None:
    failed, fine = await toolbox.run([asked, call("greet", "other", name="Ada")])
    assert said in failed.output
    assert (failed.call_id, failed.succeeded) == (asked.call_id, False)
    assert (fine.output, fine.succeeded) == ("Hello Ada", True)


async def test_what_an_exception_says_is_logged_and_not_told(
    toolbox: Toolbox, caplog: pytest.LogCaptureFixture
) -> None:
    (output,) = await toolbox.run([call("explode", "call_77")])
    assert "hunter2" not in output.output
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "call_77" in record.getMessage()
    assert record.exc_info is not None


async def test_the_configured_limit_holds_where_a_tool_sets_none() -> None:
    release = threading.Event()

    @tool
    def stuck() -> str:
        """Wait for a long time."""
        release.wait(DEADLINE_SECONDS)
        return ""

    box = Toolbox([stuck], config=FoundryAgentServiceConfig(tool_timeout=0.05))
    (output,) = await box.run([call("stuck")])
    release.set()
    box.close()
    assert output.output == "The tool gave no result within 0.05 s."


async def test_a_cancelled_run_stops_its_tools_and_still_answers_each_call() -> None:
    running, stopped = asyncio.Event(), asyncio.Event()

    @tool
    async def endless() -> str:
        """Run until stopped."""
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return ""

    box = Toolbox([endless, greet])
    calls = [call("greet", "a", name="Ada"), call("endless", "b")]
    run = asyncio.create_task(box.run(calls))
    await asyncio.wait_for(running.wait(), DEADLINE_SECONDS)
    run.cancel()
    done, slow = await asyncio.wait_for(asyncio.shield(run), DEADLINE_SECONDS)
    assert stopped.is_set()
    assert (done.call_id, done.output) == ("a", "Hello Ada")
    assert (slow.call_id, slow.succeeded) == ("b", False)
    assert slow.output == "The tool was stopped before it finished."
    assert run.cancelling() == 1


async def test_a_deadline_around_a_run_leaves_the_answers() -> None:
    box = Toolbox([forever])
    async with asyncio.timeout(0.01) as deadline:
        outputs = await box.run([call("forever")])
    assert deadline.expired()
    assert [output.succeeded for output in outputs] == [False]


async def test_a_long_result_is_cut_and_says_so(toolbox: Toolbox) -> None:
    (output,) = await toolbox.run([call("long_text", characters=MAX_OUTPUT_CHARACTERS + 1)])
    assert len(output.output) == MAX_OUTPUT_CHARACTERS
    assert output.output.endswith(f"[cut: {MAX_OUTPUT_CHARACTERS + 1} characters in all]")
    (whole,) = await toolbox.run([call("long_text", characters=MAX_OUTPUT_CHARACTERS)])
    assert whole.output == "x" * MAX_OUTPUT_CHARACTERS


def test_calls_are_found_among_output_items() -> None:
    items: list[dict[str, Any]] = [
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c", "name": "greet", "arguments": '{"name": "A"}'},
    ]
    assert function_calls(items) == [FunctionCall("c", "greet", '{"name": "A"}')]


def test_tools_are_offered_by_name_or_as_objects(toolbox: Toolbox) -> None:
    mcp = {"type": "mcp", "server_label": "docs", "server_url": "https://example.com/mcp"}
    definitions = toolbox.definitions(
        ["greet", "data_analysis", "visualization", mcp, "greet", "code_interpreter"]
    )
    assert definitions == [
        greet.definition(),
        {"type": "code_interpreter", "container": {"type": "auto"}},
        mcp,
    ]


def test_an_unknown_name_is_answered_with_the_known_ones(toolbox: Toolbox) -> None:
    with pytest.raises(InvalidRequestError, match=r"'weather'.*code_interpreter.*greet") as caught:
        toolbox.definitions(["weather"])
    assert caught.value.code == "unknown_tool"
    assert {"greet", "web_search"} <= set(toolbox.names)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="greet"):
        Toolbox([greet, greet])

    @tool(name="web_search")
    def mine() -> str:
        """Search."""
        return ""

    with pytest.raises(ValueError, match="web_search"):
        Toolbox([mine])
