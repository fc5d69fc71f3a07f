"""The tools of one client: their definitions for the model, and running the calls it makes."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from .names import ENABLE_TOOLS, NAMED_TOOLS, SettingNames, named_tool, not_configured
from .threads import RaisedInThreadError, ToolThreads

log = logging.getLogger(__name__)

ToolLike = str | Mapping[str, Any] | Callable[..., Any]
"""How a caller requests a tool: by name, as a JSON object of the Responses API, or as a function
that the model may call in this turn."""


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool that a caller may name."""

    name: str
    description: str
    types: tuple[str, ...]
    """The types of tools that the name stands for; `function` for a custom tool."""
    needs: tuple[SettingNames, ...] = ()
    """The settings that it needs; any one of several alternatives is enough."""
    missing: tuple[SettingNames, ...] = ()
    """The settings that are missing in each alternative; empty if it is configured."""

    @property
    def unavailable(self) -> str | None:
        """Why the tool cannot be used; None if it can."""
        return not_configured(self.name, self.missing) if self.missing else None

    def switched_off(self) -> OfferedTool:
        """The tool where the settings allow no tools at all."""
        missing = [(ENABLE_TOOLS, *names) for names in self.missing or ((),)]
        return replace(self, missing=tuple(missing))


class Toolbox:
    """Custom tools, and the service's hosted tools by name. Belongs to one event loop."""

    def __init__(
        self,
        tools: Iterable[Callable[..., Any]] = (),
        *,
        config: FoundryAgentServiceConfig | None = None,
    ) -> None:
        """Register custom ``tools``; ``config`` has the settings of hosted tools.

        Raises:
            TypeError: for a function that cannot be a tool.
            ValueError: if two tools have the same name.
        """
        self._config = config or FoundryAgentServiceConfig()
        self._custom: dict[str, CustomTool[..., Any]] = {}
        self._threads = ToolThreads()
        for tool in map(custom_tool, tools):
            if tool.name in self._custom or tool.name in NAMED_TOOLS:
                raise ValueError(f"There is already a tool named '{tool.name}'.")
            self._custom[tool.name] = tool

    def with_tools(self, wanted: Iterable[ToolLike]) -> Toolbox:
        """A toolbox that also has the functions in ``wanted``; it shares the threads.

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
        """The names of all tools, sorted."""
        return sorted({*self._custom, *NAMED_TOOLS})

    @property
    def functions(self) -> frozenset[str]:
        """The names of the functions that run in this app."""
        return frozenset(self._custom)

    def offered(self) -> list[OfferedTool]:
        """Every tool that a caller may name, sorted by name."""
        custom = [
            OfferedTool(tool.name, tool.description, ("function",))
            for tool in self._custom.values()
        ]
        named = [
            OfferedTool(
                name,
                tool.description,
                tuple(sorted(tool.types)),
                tool.needs,
                tool.missing(self._config),
            )
            for name, tool in NAMED_TOOLS.items()
        ]
        return sorted([*custom, *named], key=lambda tool: tool.name)

    def definitions(self, wanted: Iterable[ToolLike]) -> list[JsonObject]:
        """The `tools` field of a request, without duplicates.

        Raises:
            InvalidRequestError: `unknown_tool`; for an invalid definition, saying what is wrong;
                for two different functions with the same name.
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
                f"Two different functions are named {', '.join(twice)}: a model cannot choose "
                "between them. Give one another name, as in tool(name=...)."
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
        """Run calls in parallel, and return an output for each, in the order of the calls.

        A call fails with a text for the model if the tool is unknown, its arguments are wrong, it
        raises (the exception is only logged) or it times out. A sync tool that is stopped runs on
        in its thread, and its result is ignored.

        Args:
            calls: The calls that the model requested.
            seconds: Tools that still run after this time are stopped.
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
        """Run calls as `run` does, and append to ``outputs`` even if the caller is cancelled."""
        tasks = [asyncio.create_task(self._traced_answer(call)) for call in calls]
        try:
            await settle(tasks, seconds)
        finally:
            outputs += map(_output, calls, tasks)

    async def _traced_answer(self, call: FunctionCall) -> FunctionOutput:
        """Run a call within its own span."""
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
        except Exception as error:  # noqa: BLE001 - a tool's types may have validators that raise
            return _raised(call, error)
        seconds = tool.timeout or self._config.tool_timeout
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                text = await (_awaited(bound()) if tool.is_async else self._in_thread(bound))
        except ToolError as error:
            return _failed(call, str(error) or "The tool failed.")
        except PydanticSerializationError:
            log.warning("tool %s (call %s): its result is not JSON", call.name, call.call_id)
            return _failed(call, "The tool's result could not be written as JSON.")
        except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 - a tool may raise anything
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
    """The output of a call's task, or the text `STOPPED` if the task was stopped."""
    if task.done() and not task.cancelled():
        return task.result()
    return _failed(call, STOPPED)


def _raised(call: FunctionCall, error: BaseException) -> FunctionOutput:
    """The output of a tool that raised: the model gets the error's class, the log its text."""
    log.warning("tool %s (call %s) failed", call.name, call.call_id, exc_info=error)
    raised = error.__cause__ if isinstance(error, RaisedInThreadError) else error
    return _failed(call, f"The tool failed ({type(raised).__name__}).")


def _failed(call: FunctionCall, text: str) -> FunctionOutput:
    return function_output(call, text, succeeded=False)
