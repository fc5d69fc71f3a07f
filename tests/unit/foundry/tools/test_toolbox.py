"""Running calls: every call gets exactly one answer, whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import itertools
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from shared.config import FoundryAgentServiceConfig
from shared.foundry.errors import InvalidRequestError
from shared.foundry.tools import (
    FunctionCall,
    FunctionOutput,
    Toolbox,
    ToolError,
    function_calls,
    tool,
)
from shared.foundry.tools.calls import MAX_OUTPUT_CHARACTERS
from shared.foundry.tools.threads import SYNC_TOOL_THREADS

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
def toolbox() -> Toolbox:
    return Toolbox(TOOLS)


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

    box, outputs = Toolbox([endless, greet]), list[FunctionOutput]()
    calls = [call("greet", "a", name="Ada"), call("endless", "b")]
    run = asyncio.create_task(box.answer(calls, outputs))
    await asyncio.wait_for(running.wait(), DEADLINE_SECONDS)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(run, DEADLINE_SECONDS)
    assert stopped.is_set()
    done, slow = outputs
    assert (done.call_id, done.output) == ("a", "Hello Ada")
    assert (slow.call_id, slow.succeeded) == ("b", False)
    assert slow.output == "The tool was stopped before it finished."


async def test_a_deadline_around_a_run_is_not_swallowed() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Toolbox([forever]).run([call("forever")])


@pytest.mark.parametrize("name", ["forever", "deaf"])
async def test_tools_are_stopped_when_the_turn_has_no_time_left(name: str) -> None:
    """Also one that goes on although it was stopped."""
    release = asyncio.Event()

    @tool
    async def deaf() -> str:
        """Ignore being stopped."""
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        return ""

    box = Toolbox([forever, deaf])
    async with asyncio.timeout(DEADLINE_SECONDS):
        (output,) = await box.run([call(name)], seconds=0.01)
    release.set()
    assert output.output == "The tool was stopped before it finished."


RAISED = [
    StopIteration,
    StopAsyncIteration,
    GeneratorExit,
    SystemExit,
    KeyboardInterrupt,
    asyncio.CancelledError,
    MemoryError,
]


@pytest.mark.parametrize("kind", RAISED)
async def test_whatever_a_sync_tool_raises_is_its_failure(kind: type[BaseException]) -> None:
    @tool
    def raises() -> str:
        """Raise."""
        raise kind

    async with asyncio.timeout(DEADLINE_SECONDS):
        failed, fine = await Toolbox([raises, greet]).run(
            [call("raises"), call("greet", "b", name="Ada")]
        )
    assert failed.output == f"The tool failed ({kind.__name__})."
    assert fine.output == "Hello Ada"


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (StopIteration, "RuntimeError"),  # what Python makes of it in a coroutine
        (StopAsyncIteration, "StopAsyncIteration"),
        (GeneratorExit, "GeneratorExit"),
        (SystemExit, "SystemExit"),
        (MemoryError, "MemoryError"),
    ],
)
async def test_whatever_an_async_tool_raises_is_its_failure(
    kind: type[BaseException], named: str
) -> None:
    @tool
    async def raises() -> str:
        """Raise."""
        raise kind

    async with asyncio.timeout(DEADLINE_SECONDS):
        (failed,) = await Toolbox([raises]).run([call("raises")])
    assert failed.output == f"The tool failed ({named})."


def test_ctrl_c_in_an_async_tool_ends_the_program() -> None:
    @tool
    async def interrupted() -> str:
        """Raise what Ctrl-C raises."""
        raise KeyboardInterrupt

    async def run() -> None:
        await Toolbox([interrupted]).run([call("interrupted")])

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run())


class Picky(BaseModel):
    """A type whose validator fails as validators should not."""

    number: int

    @field_validator("number")
    @classmethod
    def refuse(cls, _: int) -> int:
        raise RuntimeError("not like this")


@tool
async def picky(value: Picky) -> str:
    """Take a value that cannot be validated."""
    return str(value)


@tool
async def circular() -> list[Any]:
    """Return a list that holds itself."""
    found: list[Any] = []
    found.append(found)
    return found


@tool
async def endless_numbers() -> Any:
    """Return an iterator without an end."""
    return itertools.count()


@tool
def late() -> Any:
    """Return something to wait for."""
    return greet(name="Ada")


@tool
async def half_a_pair() -> dict[str, str]:
    """Return text that UTF-8 cannot hold."""
    return {"half \ud800": "of a \udc00 pair"}


@tool
async def verbose() -> str:
    """Fail at length."""
    raise ToolError("x" * 2 * MAX_OUTPUT_CHARACTERS)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (call("picky", value={"number": 1}), "The tool failed (RuntimeError)."),
        (call("circular"), "The tool"),
        (call("endless_numbers"), "The tool's result could not be written as JSON."),
        (call("late"), "Hello Ada"),
        (call("half_a_pair"), '{"half ?":"of a ? pair"}'),
        (call("verbose"), "xxx"),
    ],
    ids=lambda value: value.name if isinstance(value, FunctionCall) else "",
)
async def test_what_tools_return_and_raise_is_bounded(asked: FunctionCall, said: str) -> None:
    box = Toolbox([picky, circular, endless_numbers, late, half_a_pair, verbose])
    async with asyncio.timeout(DEADLINE_SECONDS):
        (output,) = await box.run([asked])
    assert output.output.startswith(said)
    assert len(output.output) <= MAX_OUTPUT_CHARACTERS


async def test_more_sync_tools_than_threads_wait_for_each_other() -> None:
    @tool
    def quick(number: int) -> int:
        """Return at once."""
        return number

    calls = [call("quick", str(n), number=n) for n in range(3 * SYNC_TOOL_THREADS)]
    outputs = await Toolbox([quick]).run(calls)
    assert [output.output for output in outputs] == [str(n) for n in range(len(calls))]


def test_a_sync_tool_that_never_returns_does_not_keep_the_process_alive() -> None:
    code = """
import asyncio, threading
from shared.foundry.tools import FunctionCall, Toolbox, tool

@tool(timeout=0.05)
def stuck() -> str:
    "Never return."
    threading.Event().wait()

print(asyncio.run(Toolbox([stuck]).run([FunctionCall("c", "stuck", "{}")]))[0].output)
"""
    ran = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "The tool gave no result within 0.05 s.\n"


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


def test_functions_are_offered_as_they_are() -> None:
    async def weather(city: str) -> str:
        """Tell the weather."""
        return city

    box = Toolbox().with_tools([weather, greet])
    offered = box.definitions([weather, greet, weather, "web_search"])
    assert [tool.get("name") for tool in offered] == ["weather", "greet", None]

    @tool(name="greet")
    def other() -> str:
        """Greet otherwise."""
        return ""

    with pytest.raises(InvalidRequestError, match="named greet"):
        box.definitions([greet, other])


@pytest.mark.parametrize(
    "function",
    [lambda: "", 3, None, functools.partial(print), itertools.count],
    ids=["lambda", "int", "None", "partial", "class"],
)
def test_what_cannot_be_a_tool_is_a_type_error(function: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Toolbox([function])


def test_a_generator_is_no_tool() -> None:
    def numbers() -> Iterator[int]:
        """Count."""
        yield 1

    with pytest.raises(TypeError, match="it is a generator"):
        Toolbox([numbers])


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_tools_timeout_is_a_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        tool(name="slow", timeout=seconds)(lambda: "")
