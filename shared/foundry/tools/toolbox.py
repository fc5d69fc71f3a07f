"""The tools of one client: what is offered to the model, and what runs when it calls."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from ...config import FoundryAgentServiceConfig
from ..errors import InvalidRequestError
from ..wire_json import JsonObject, explain
from . import tool_span as spans
from .calls import STOPPED, FunctionCall, FunctionOutput, as_output, function_output, settle
from .catalogue import parse_tool
from .custom import CustomTool, ToolError, custom_tool
from .names import NAMED_TOOLS, named_tool
from .threads import RaisedInThreadError, ToolThreads

log = logging.getLogger(__name__)

ToolLike = str | Mapping[str, Any] | Callable[..., Any]
"""A tool as a caller may ask for it: by name, as a JSON object of the Responses API, or as the
function itself, which the model may then call in this turn."""


class Toolbox:
    """Custom tools, and the service's tools by name; belongs to one event loop."""

    def __init__(
        self,
        tools: Iterable[Callable[..., Any]] = (),
        *,
        config: FoundryAgentServiceConfig | None = None,
    ) -> None:
        """Register ``tools``; the settings of ``config`` resolve the names of hosted tools.

        Raises:
            TypeError: for a function that cannot be a tool.
            ValueError: if two tools have one name.
        """
        self._config = config or FoundryAgentServiceConfig()
        self._custom: dict[str, CustomTool[..., Any]] = {}
        self._threads = ToolThreads()
        for tool in map(custom_tool, tools):
            if tool.name in self._custom or tool.name in NAMED_TOOLS:
                raise ValueError(f"There is already a tool named '{tool.name}'.")
            self._custom[tool.name] = tool

    def with_tools(self, wanted: Iterable[ToolLike]) -> Toolbox:
        """A toolbox that can run the functions among ``wanted`` too; the threads are shared.

        Raises:
            TypeError: for a function that cannot be a tool.
        """
        given = [custom_tool(tool) for tool in wanted if not isinstance(tool, str | Mapping)]
        if not given:
            return self
        box = Toolbox(config=self._config)
        box._threads = self._threads
        box._custom = self._custom | {tool.name: tool for tool in given}
        return box

    @property
    def names(self) -> list[str]:
        """Every name that `definitions` knows, sorted."""
        return sorted({*self._custom, *NAMED_TOOLS})

    def definitions(self, wanted: Iterable[ToolLike]) -> list[JsonObject]:
        """The `tools` of a request; names that mean the same tool give one.

        Raises:
            InvalidRequestError: `unknown_tool`, or saying what is wrong with a definition; also
                where two functions have one name.
            ConfigurationError: naming the setting that a tool needs.
        """
        found: list[JsonObject] = []
        for tool in wanted:
            definition = self._definition(tool)
            if definition not in found:
                found.append(definition)
        names = [definition["name"] for definition in found if definition["type"] == "function"]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidRequestError(
                f"Two different functions are named {', '.join(twice)}: a model could not tell "
                "them apart. Give one another name, as in tool(name=...)."
            )
        return found

    def _definition(self, tool: ToolLike) -> JsonObject:
        if isinstance(tool, str):
            if custom := self._custom.get(tool):
                return custom.definition()
            return named_tool(tool, self._config, also_known=self._custom)
        if callable(tool):
            return custom_tool(tool).definition()
        return parse_tool(tool)

    async def run(
        self, calls: Sequence[FunctionCall], *, seconds: float | None = None
    ) -> list[FunctionOutput]:
        """Run calls in parallel and answer each, in the same order, whatever becomes of it.

        A call fails with a text for the model: an unknown tool, wrong arguments, a tool that
        raised (its exception is only logged) or took too long. A sync tool that is
        stopped goes on in its thread, its result ignored.

        Args:
            calls: What the model asked for.
            seconds: After so long, tools that still run are stopped.
        """
        outputs: list[FunctionOutput] = []
        await self.answer(calls, outputs, seconds=seconds)
        return outputs

    async def answer(
        self,
        calls: Sequence[FunctionCall],
        outputs: list[FunctionOutput],
        *,
        seconds: float | None = None,
    ) -> None:
        """Run calls as `run` does; ``outputs`` is filled in even if the caller is cancelled."""
        tasks = [asyncio.create_task(self._traced_answer(call)) for call in calls]
        try:
            await settle(tasks, seconds)
        finally:
            outputs += map(_output, calls, tasks)

    async def _traced_answer(self, call: FunctionCall) -> FunctionOutput:
        """Answer a call within a span of its own."""
        with spans.execution(call, known=call.name in self._custom) as ran:
            output = await self._answer(call)
            spans.record_output(ran, output)
            if self._config.log_content:
                spans.record_content(ran, call, output)
        return output

    async def _answer(self, call: FunctionCall) -> FunctionOutput:
        tool = self._custom.get(call.name)
        if tool is None:
            known = ", ".join(sorted(self._custom)) or "none"
            return _failed(call, f"There is no tool '{call.name}'. Known tools: {known}.")
        started = perf_counter()
        output = await self._run_tool(call, tool)
        log.debug(
            "tool %s (call %s): %s in %.3f s, %d characters",
            call.name,
            call.call_id,
            "succeeded" if output.succeeded else "failed",
            perf_counter() - started,
            len(output.output),
        )
        return output

    async def _run_tool(self, call: FunctionCall, tool: CustomTool[..., Any]) -> FunctionOutput:
        try:
            bound = tool.bind(call.arguments)
        except ValidationError as error:
            return _failed(call, f"The arguments are wrong: {explain(error)}.")
        except Exception as error:  # noqa: BLE001 - the border of a tool: its types' validators
            return _raised(call, error)
        seconds = tool.timeout or self._config.tool_timeout
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                text = await (_awaited(bound()) if tool.is_async else self._in_thread(bound))
        except ToolError as error:
            return _failed(call, str(error) or "The tool failed.")
        except PydanticSerializationError:
            log.warning("tool %s (call %s): its result is no JSON", call.name, call.call_id)
            return _failed(call, "The tool's result could not be written as JSON.")
        except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 - its border
            if limit.expired():
                log.warning("tool %s (call %s) timed out", call.name, call.call_id)
                return _failed(call, f"The tool gave no result within {seconds:g} s.")
            return _raised(call, error)
        return function_output(call, text, succeeded=True)

    async def _in_thread(self, bound: Callable[[], Any]) -> str:
        def work() -> str | Awaitable[Any]:
            result = bound()
            return result if inspect.isawaitable(result) else as_output(result)

        result = await self._threads.run(work)
        return result if isinstance(result, str) else await _awaited(result)


async def _awaited(result: Awaitable[Any]) -> str:
    return as_output(await result)


def _output(call: FunctionCall, task: asyncio.Task[FunctionOutput]) -> FunctionOutput:
    """How a call ended; one whose task was stopped, or would not stop, has no result."""
    if task.done() and not task.cancelled():
        return task.result()
    return _failed(call, STOPPED)


def _raised(call: FunctionCall, error: BaseException) -> FunctionOutput:
    """The answer if a tool raised: the model gets the kind of error, its text is only logged."""
    log.warning("tool %s (call %s) failed", call.name, call.call_id, exc_info=error)
    raised = error.__cause__ if isinstance(error, RaisedInThreadError) else error
    return _failed(call, f"The tool failed ({type(raised).__name__}).")


def _failed(call: FunctionCall, text: str) -> FunctionOutput:
    return function_output(call, text, succeeded=False)
