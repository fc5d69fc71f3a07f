"""A turn from its first request to its last: send, run the tools asked for, send their results.

JSON and streamed turns are the same generator; a turn that is not streamed simply has no deltas.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from time import perf_counter

from .answer_reader import TERMINAL
from .errors import ProtocolError
from .events import (
    MessageDelta,
    OtherEvent,
    ToolFinished,
    ToolStarted,
    TurnCompleted,
    TurnEvent,
    TurnStarted,
)
from .exchange import Exchange, Link
from .models import Backing, TurnResult
from .responses import hosted_tool, parse_response
from .retry import Deadline
from .tools import (
    ApprovalCallback,
    FunctionCall,
    FunctionOutput,
    Toolbox,
    answer_approvals,
    function_calls,
)
from .wire_json import JsonObject, object_at, objects_at, text_at

log = logging.getLogger(__name__)

MAX_TOOL_ROUNDS = 16
"""A model that still asks for tools after so many rounds is told to answer without."""

CLOSING_SECONDS = 10.0
"""Beyond the deadline, for answering function calls that would otherwise block the thread."""

OUT_OF_TIME = "The tool did not run: the turn ran out of time."


@dataclass(slots=True)
class Turn:
    """One turn in progress."""

    link: Link
    body: JsonObject
    """Of the first request; later ones differ in their input."""
    backing: Backing
    deadline: Deadline
    silence: float
    toolbox: Toolbox
    approve: ApprovalCallback

    async def events(self) -> AsyncGenerator[TurnEvent]:
        """Run the turn.

        Raises:
            FoundryError: if there is no answer.
        """
        started, totals = perf_counter(), _Totals()
        for number in range(MAX_TOOL_ROUNDS + 1):
            async with aclosing(self._exchange(totals)) as events:
                async for event in events:
                    yield event
            items = objects_at(totals.response, "output")
            answers: list[JsonObject] = await answer_approvals(items, self.approve)
            async with aclosing(self._use_tools(function_calls(items), answers)) as tool_events:
                async for event in tool_events:
                    yield event
            if not answers:
                yield TurnCompleted(totals.result(perf_counter() - started))
                return
            self._follow_up(totals.response, answers, last=number + 1 == MAX_TOOL_ROUNDS)
        raise ProtocolError(f"The model keeps asking for tools after {MAX_TOOL_ROUNDS} rounds.")

    async def _exchange(self, totals: _Totals) -> AsyncGenerator[TurnEvent]:
        exchange = Exchange(self.link, self.body, self.backing, self.deadline, silence=self.silence)
        async with aclosing(exchange.events()) as events:
            async for event in events:
                if event["type"] in TERMINAL:
                    totals.add(event["response"], exchange)
                else:
                    yield _typed(event)

    async def _use_tools(
        self, calls: list[FunctionCall], answers: list[JsonObject]
    ) -> AsyncGenerator[TurnEvent]:
        """Run the calls in parallel; every call gets an answer, whatever happens."""
        for call in calls:
            yield ToolStarted(call.name, call.call_id)
        if self.deadline.remaining():
            outputs = await self.toolbox.run(calls)
        else:
            outputs = [FunctionOutput(call.call_id, OUT_OF_TIME, False) for call in calls]
        answers += [output.to_item() for output in outputs]
        for call, output in zip(calls, outputs, strict=True):
            yield ToolFinished(call.name, call.call_id, output.succeeded)

    def _follow_up(self, response: JsonObject, answers: list[JsonObject], *, last: bool) -> None:
        """Make the next request: what the tools returned, in place of the message."""
        self.body = {**self.body, "input": answers}
        if self.backing.conversation_id is None:
            self.body["previous_response_id"] = response["id"]
        if last:
            self.body["tool_choice"] = "none"
        last_item_id = text_at(objects_at(response, "output")[-1], "id")
        self.backing = replace(self.backing, last_item_id=last_item_id, look_first=False)
        if not self.deadline.remaining():
            self.deadline = Deadline(CLOSING_SECONDS)


class _Totals:
    """What the rounds of a turn add up to."""

    def __init__(self) -> None:
        self.response: JsonObject = {}
        self._rounds: list[TurnResult] = []

    def add(self, response: JsonObject, exchange: Exchange) -> None:
        """Take in the response of a round."""
        self.response = response
        result = parse_response(response, request_id=exchange.request_id)
        newest = None if exchange.is_passed else result.last_item_id
        self._rounds.append(replace(result, last_item_id=newest))

    def result(self, latency: float) -> TurnResult:
        """The turn's result; a count that any round left out is unknown for the turn."""
        usages = [each.usage for each in self._rounds]
        known = [name for name in usages[0] if all(name in usage for usage in usages)]
        calls = tuple(call for each in self._rounds for call in each.tool_calls)
        return replace(
            self._rounds[-1],
            usage={name: sum(usage[name] for usage in usages) for name in known},
            tools_used=tuple(dict.fromkeys(call.tool for call in calls)),
            tool_calls=calls,
            latency=latency,
        )


def _typed(event: JsonObject) -> TurnEvent:
    """A wire event as callers see it."""
    kind = event["type"]
    if kind == "response.output_text.delta":
        return MessageDelta(str(event.get("delta", "")))
    if kind == "response.created":
        return TurnStarted(str(object_at(event, "response").get("id")))
    item = object_at(event, "item")
    if (name := hosted_tool(item)) and kind == "response.output_item.added":
        return ToolStarted(name, str(item.get("id")))
    if name and kind == "response.output_item.done":
        return ToolFinished(name, str(item.get("id")), item.get("status") != "failed")
    return OtherEvent(event)
