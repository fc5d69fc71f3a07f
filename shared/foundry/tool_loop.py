"""A turn: request a response, run the tools it asks for, send their results, until it is an answer.

A call of a function that the caller runs, or a request that the caller answers, ends the turn too.
The app's own tools in the same response still run; their results are sent together with the
caller's answers.
JSON and streamed turns run the same code; a turn that is not streamed emits no deltas.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
from dataclasses import dataclass, field, replace
from time import perf_counter

from .client_calls import (
    CANCELLED,
    CallFeed,
    approval_requests,
    client_call,
    consent_requests,
)
from .errors import FoundryError, ProtocolError
from .events import (
    Emit,
    MessageDelta,
    OtherEvent,
    ToolFinished,
    ToolStarted,
    TurnEvent,
    TurnStarted,
    ignore,
)
from .exchange import BeforeSend, Exchange, Link, may_send
from .models import FinishReason, ThreadRef, ToolRequest, TurnResult
from .responses import hosted_tool, parse_response
from .retry import Deadline
from .tools import (
    ApprovalCallback,
    FunctionOutput,
    Toolbox,
    answer_approvals,
    function_calls,
)
from .tools.unanswered import APPROVAL_REQUEST, ASKING_TYPES, refusal, unanswered
from .wire_json import JsonObject, object_at, objects_at, text_at

log = logging.getLogger(__name__)

MAX_TOOL_ROUNDS = 16
"""After so many rounds, the model must answer without tools."""

CLOSING_SECONDS = 10.0
"""Beyond the deadline, for answering function calls that would otherwise block the thread."""

LEAVING_SECONDS = 5.0
"""For the same, where the turn is cancelled; the cancellation goes on afterwards."""

OUT_OF_TIME = "The tool did not run: the turn ran out of time."


@dataclass(frozen=True, slots=True)
class HandOver:
    """What a turn hands over to its caller."""

    functions: frozenset[str] = frozenset()
    """Functions that the caller runs."""
    approvals: bool = False
    """Whether the caller decides on approvals."""
    is_kept: bool = False
    """Whether the turn is on a thread, which the caller's answers can continue."""

    def takes(self, item: JsonObject) -> bool:
        """Whether the caller answers a call or an approval request."""
        if item.get("type") == APPROVAL_REQUEST:
            return self.approvals and self.is_kept
        return item.get("type") == "function_call" and item.get("name") in self.functions


@dataclass(slots=True)
class ToolLoop:
    """One turn in progress."""

    link: Link
    body: JsonObject
    """The first request's; later ones differ in their input."""
    thread: ThreadRef
    deadline: Deadline
    silence: float
    toolbox: Toolbox
    approve: ApprovalCallback
    before_send: BeforeSend = may_send
    emit: Emit = ignore
    hand_over: HandOver = HandOver()
    asked: list[JsonObject] = field(default_factory=list[JsonObject])
    """Calls and requests for approval that Foundry waits for."""
    answers: list[JsonObject] = field(default_factory=list[JsonObject])
    """The answers to them that are known so far."""

    async def run(self) -> TurnResult:
        """Run the turn. A turn that is cancelled leaves no call without an answer.

        Raises:
            FoundryError: if there is no answer.
        """
        try:
            return await self._rounds()
        except asyncio.CancelledError:
            if self.asked and self.thread.conversation_id:
                await self._leave()
            raise

    async def _rounds(self) -> TurnResult:
        started, totals = perf_counter(), _Totals(self.hand_over)
        for number in range(MAX_TOOL_ROUNDS + 1):
            feed = CallFeed(self.hand_over.functions, self.emit)
            await self._exchange(totals, feed)
            items = objects_at(totals.response, "output")
            self.asked, self.answers = [], []
            if any(item.get("type") in ASKING_TYPES for item in items):
                self.asked = unanswered(items)
            handed = [item for item in self.asked if self.hand_over.takes(item)]
            feed.finish(client_call(item) for item in handed if item.get("type") == "function_call")
            if self.asked and (self.hand_over.is_kept or not handed):
                await self._answer([item for item in items if item not in handed])
            if handed or not self.answers:
                self.asked = []
                return totals.result(perf_counter() - started, handed, self.answers)
            self._follow_up(totals.response, last=number + 1 == MAX_TOOL_ROUNDS)
        raise ProtocolError(f"The model keeps asking for tools after {MAX_TOOL_ROUNDS} rounds.")

    async def _exchange(self, totals: _Totals, feed: CallFeed) -> None:
        exchange = Exchange(
            self.link,
            self.body,
            self.thread,
            self.deadline,
            silence=self.silence,
            before_send=self.before_send,
        )

        def emit(event: JsonObject) -> None:
            if not feed.take(event):
                self.emit(_typed(event))

        response = await exchange.run(emit, shown=self.hand_over.functions)
        totals.add(response, exchange)

    async def _answer(self, items: list[JsonObject]) -> None:
        """Decide on approvals and run the calls in parallel; each in ``items`` gets an answer."""
        remaining = self.deadline.remaining()
        self.answers += await answer_approvals(items, self.approve, seconds=remaining)
        calls, outputs = function_calls(items), list[FunctionOutput]()
        for call in calls:
            self.emit(ToolStarted(call.name, call.call_id))
        try:
            if remaining := self.deadline.remaining():
                await self.toolbox.answer(calls, outputs, seconds=remaining)
            else:
                outputs += [FunctionOutput(call.call_id, OUT_OF_TIME, False) for call in calls]
        finally:
            self.answers += [output.to_item() for output in outputs]
        self.answers += map(refusal, unanswered([*items, *self.answers]))
        for call, output in zip(calls, outputs, strict=True):
            self.emit(ToolFinished(call.name, call.call_id, output.succeeded))

    async def _leave(self) -> None:
        """Put an answer to every open call into the conversation, within `LEAVING_SECONDS`."""
        refused = map(refusal, unanswered([*self.asked, *self.answers]))
        answers, deadline = [*self.answers, *refused], Deadline(LEAVING_SECONDS)
        deliver, repeat = self.link.reconciler.deliver, self.link.retry.repeat
        try:
            async with asyncio.timeout(LEAVING_SECONDS):
                await self.before_send()
                await repeat(lambda _: deliver(self.thread, answers), deadline)
        except (FoundryError, builtins.TimeoutError) as error:
            log.warning("A call stays without an answer until the next message: %s", error)

    def _follow_up(self, response: JsonObject, *, last: bool) -> None:
        """Make the next request: what the tools returned, in place of the message."""
        self.body = {**self.body, "input": self.answers}
        if self.thread.conversation_id is None:
            self.body["previous_response_id"] = response["id"]
        if last:
            self.body["tool_choice"] = "none"
        elif self.body.get("tool_choice") == "required":
            self.body["tool_choice"] = "auto"  # a tool was called
        last_item_id = text_at(objects_at(response, "output")[-1], "id")
        self.thread = ThreadRef(self.thread.conversation_id, last_item_id=last_item_id)
        if not self.deadline.remaining():
            self.deadline = Deadline(CLOSING_SECONDS)


class _Totals:
    """The sums over the rounds of a turn."""

    def __init__(self, hand_over: HandOver) -> None:
        self.response: JsonObject = {}
        self._rounds: list[TurnResult] = []
        self._consents: list[ToolRequest] = []
        self._hand_over = hand_over

    def add(self, response: JsonObject, exchange: Exchange) -> None:
        """Add the response of a round."""
        self.response = response
        self._consents += consent_requests(objects_at(response, "output"))
        result = parse_response(response, request_id=exchange.request_id)
        self._rounds.append(replace(result, last_item_id=None) if exchange.is_passed else result)

    def result(
        self, latency: float, handed: list[JsonObject], answers: list[JsonObject]
    ) -> TurnResult:
        """The turn's result, with what is ``handed`` over, and the other ``answers`` to send then.

        A count that any round left out is unknown for the turn.
        """
        usages = [each.usage for each in self._rounds]
        known = [name for name in usages[0] if all(name in usage for usage in usages)]
        calls = tuple(
            call
            for each in self._rounds
            for call in each.tool_calls
            if call.tool not in self._hand_over.functions
        )
        answered = [*answers, *(refusal(item, CANCELLED) for item in handed)]
        requests = (*approval_requests(handed), *self._consents)
        handed_calls = tuple(client_call(i) for i in handed if i.get("type") == "function_call")
        last = self._rounds[-1]
        return replace(
            last,
            usage={name: sum(usage[name] for usage in usages) for name in known},
            tools_used=tuple(dict.fromkeys(call.tool for call in calls)),
            tool_calls=calls,
            calls=handed_calls,
            requests=requests,
            owed=tuple(answered) if handed and self._hand_over.is_kept else (),
            finish_reason=_reason(last.finish_reason, bool(handed_calls), bool(requests)),
            latency=latency,
        )


def _reason(reason: FinishReason, calls: bool, requests: bool) -> FinishReason:
    """Why a turn ended that hands over calls or requests."""
    if reason is not FinishReason.STOP:
        return reason
    if calls:
        return FinishReason.TOOL_CALLS
    return FinishReason.APPROVAL if requests else reason


def _typed(event: JsonObject) -> TurnEvent:
    """An event of the service as an event of the turn."""
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
