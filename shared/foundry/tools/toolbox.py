"""The tools of one client: what is offered to the model, and what runs when it calls."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from ...config import FoundryAgentServiceConfig
from ..wire_json import JsonObject
from . import spans
from .calls import FunctionCall, FunctionOutput, as_output, settle
from .catalogue import parse_tool
from .custom import CustomTool, ToolError
from .model_tools import ToolModel
from .names import NAMED_TOOLS, named_tool
from .validation import explain

log = logging.getLogger(__name__)

SYNC_TOOL_THREADS = 32
"""Sync tools that run at once. They have threads of their own, so that slow ones do not hold up
what else the process does in threads, such as looking up host names."""

ToolLike = str | Mapping[str, Any] | ToolModel
"""A tool as a caller may ask for it: by name, as a JSON object, or as a model of the catalogue."""


class Toolbox:
    """Custom tools, and the service's tools by name.

    Belongs to one event loop; `close` it when no more calls will come.
    """

    def __init__(
        self,
        tools: Iterable[CustomTool[..., Any]] = (),
        *,
        config: FoundryAgentServiceConfig | None = None,
    ) -> None:
        """Take ``tools`` in; the settings of ``config`` say what names stand for.

        Raises:
            ValueError: if two tools have one name.
        """
        self._config = config or FoundryAgentServiceConfig()
        self._custom: dict[str, CustomTool[..., Any]] = {}
        self._threads: ThreadPoolExecutor | None = None
        for tool in tools:
            if tool.name in self._custom or tool.name in NAMED_TOOLS:
                raise ValueError(f"There is already a tool named '{tool.name}'.")
            self._custom[tool.name] = tool

    @property
    def names(self) -> list[str]:
        """Every name that `definitions` knows, sorted."""
        return sorted({*self._custom, *NAMED_TOOLS})

    def definitions(self, wanted: Iterable[ToolLike]) -> list[JsonObject]:
        """The `tools` of a request; names that mean the same tool give one.

        Raises:
            InvalidRequestError: `unknown_tool`, or saying what is wrong with a definition.
            ConfigurationError: naming the setting that a tool needs.
        """
        found: list[JsonObject] = []
        for tool in wanted:
            definition = self._definition(tool)
            if definition not in found:
                found.append(definition)
        return found

    def _definition(self, tool: ToolLike) -> JsonObject:
        if isinstance(tool, ToolModel):
            return tool.to_json()
        if not isinstance(tool, str):
            return parse_tool(tool).to_json()
        if custom := self._custom.get(tool):
            return custom.definition()
        return named_tool(tool, self._config, also_known=self._custom).to_json()

    async def run(self, calls: Sequence[FunctionCall]) -> list[FunctionOutput]:
        """Run calls in parallel and answer each, in the same order, whatever becomes of it.

        A call fails with a text that tells the model why: an unknown tool, wrong arguments, a
        tool that raised (its exception is logged, not told) or took too long. If the caller is
        cancelled meanwhile, its tools are stopped and the answers are returned all the same: see
        `settle`. A sync tool that is stopped goes on in its thread, its result ignored.
        """
        tasks = [asyncio.create_task(self._traced_answer(call)) for call in calls]
        await settle(tasks)
        return [
            _failed(call, "The tool was stopped before it finished.")
            if task.cancelled()
            else task.result()
            for call, task in zip(calls, tasks, strict=True)
        ]

    async def _traced_answer(self, call: FunctionCall) -> FunctionOutput:
        """As `_answer`, with a span of its own."""
        with spans.execution(call, known=call.name in self._custom) as ran:
            output = await self._answer(call)
            spans.tell_output(ran, output)
            if self._config.log_content:
                spans.tell_content(ran, call, output)
        return output

    async def _answer(self, call: FunctionCall) -> FunctionOutput:
        tool = self._custom.get(call.name)
        if tool is None:
            known = ", ".join(sorted(self._custom)) or "none"
            return _failed(call, f"There is no tool '{call.name}'. Known tools: {known}.")
        try:
            bound = tool.bind(call.arguments)
        except ValidationError as error:
            return _failed(call, f"The arguments are wrong: {explain(error)}.")
        started = perf_counter()
        output = await self._run_bound(call, tool, bound)
        seconds = perf_counter() - started
        log.debug(
            "tool %s (call %s): %s in %.3f s, %d characters",
            call.name,
            call.call_id,
            "succeeded" if output.succeeded else "failed",
            seconds,
            len(output.output),
        )
        return output

    async def _run_bound(
        self, call: FunctionCall, tool: CustomTool[..., Any], bound: Callable[[], Any]
    ) -> FunctionOutput:
        seconds = tool.timeout or self._config.tool_timeout
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                result = await (bound() if tool.is_async else self._in_thread(bound))
            return FunctionOutput(call.call_id, as_output(result), succeeded=True)
        except ToolError as error:
            return _failed(call, str(error) or "The tool failed.")
        except PydanticSerializationError:
            log.warning("tool %s (call %s): its result is no JSON", call.name, call.call_id)
            return _failed(call, "The tool's result could not be written as JSON.")
        except (Exception, SystemExit) as error:
            if limit.expired():
                log.warning("tool %s (call %s) timed out", call.name, call.call_id)
                return _failed(call, f"The tool gave no result within {seconds:g} s.")
            log.warning("tool %s (call %s) failed", call.name, call.call_id, exc_info=True)
            return _failed(call, f"The tool failed ({type(error).__name__}).")

    async def _in_thread(self, bound: Callable[[], Any]) -> Any:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(SYNC_TOOL_THREADS, thread_name_prefix="tool")
        run = partial(contextvars.copy_context().run, bound)
        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def close(self) -> None:
        """Let the threads of sync tools go, without waiting for tools that still run."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


def _failed(call: FunctionCall, text: str) -> FunctionOutput:
    return FunctionOutput(call.call_id, text, succeeded=False)
