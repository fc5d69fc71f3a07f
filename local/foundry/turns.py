"""Responses in progress: one task each, one writer per conversation."""

import asyncio
import copy
import json
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from local.model import (
    Finished,
    FinishReason,
    LanguageModel,
    ModelError,
    Prompt,
    TokenUsage,
)

from . import hosted
from .errors import JsonObject, conversation_locked
from .events import OutputRecorder
from .faults import FAILING, MODEL_FAILED, Fault, FaultKind
from .store import Store

logger = logging.getLogger(__name__)

TERMINAL = {"completed", "incomplete", "failed", "cancelled"}
KEEP_ALIVE_SECONDS = 15.0


@dataclass(slots=True)
class Plan:
    """A checked response that can be started."""

    body: JsonObject
    """The initial response object."""
    owner: str
    prompt: Prompt
    input_items: list[JsonObject]
    store: bool
    streamed: bool = False
    """Whether the events can be read again later."""
    events_wanted: bool = False
    """Whether the caller reads events."""
    fault: Fault | None = None
    """A fault in the generation of the answer, not in its delivery."""

    @property
    def conversation_id(self) -> str | None:
        """The conversation the response belongs to."""
        conversation: JsonObject | None = self.body["conversation"]
        return None if conversation is None else conversation["id"]


@dataclass(slots=True)
class Ledger:
    """Tokens billed since the emulator started."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def bill(self, usage: TokenUsage | None) -> None:
        """Count one generation."""
        self.requests += 1
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens


@dataclass(slots=True)
class Turn:
    """One response in progress, and its events so far."""

    plan: Plan
    events: list[str] = field(default_factory=list[str])
    """Every event as JSON text, so that later changes of an item do not alter earlier events."""
    task: asyncio.Task[None] | None = None
    cancelled: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def body(self) -> JsonObject:
        """The current response object."""
        return self.plan.body

    @property
    def finished(self) -> bool:
        """Whether the response has its final status."""
        return self.body["status"] in TERMINAL

    def emit(self, kind: str, **fields: object) -> None:
        """Add an event and wake its readers."""
        event = {"type": kind, "sequence_number": len(self.events), **fields}
        self.events.append(json.dumps(event))
        self.wake()

    def wake(self) -> None:
        """Wake the readers of events."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_finished(self) -> None:
        """Wait until the response has its final status."""
        while not self.finished:
            await self._changed.wait()

    async def follow(self, starting_after: int = -1) -> AsyncGenerator[str | None]:
        """Yield events after a sequence number until the last; None is a keep-alive."""
        position = starting_after + 1
        while True:
            changed = self._changed
            while position < len(self.events):
                yield self.events[position]
                position += 1
            if self.finished:
                return
            try:
                await asyncio.wait_for(changed.wait(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                yield None


class Turns:
    """Generates responses with the model and records them."""

    def __init__(self, store: Store, model: LanguageModel) -> None:
        self._store = store
        self._model = model
        self._live: dict[str, Turn] = {}
        self._locked: set[str] = set()
        self.ledger = Ledger()

    def live(self, response_id: str) -> Turn | None:
        """Return the turn of a response in progress."""
        return self._live.get(response_id)

    def lock(self, conversation_id: str | None) -> None:
        """Lock the conversation for one writer, or refuse with 409."""
        if conversation_id is None:
            return
        if conversation_id in self._locked:
            raise conversation_locked(conversation_id)
        self._locked.add(conversation_id)

    def unlock(self, conversation_id: str | None) -> None:
        """Release the lock of the conversation."""
        if conversation_id is not None:
            self._locked.discard(conversation_id)

    def start(self, plan: Plan) -> Turn:
        """Record the request and its input, and start the answer, whose task now owns the lock."""
        turn = Turn(plan)
        self._record_start(plan)
        self._live[plan.body["id"]] = turn
        turn.emit("response.created", response=plan.body)
        if plan.body["background"]:
            turn.emit("response.queued", response=plan.body)
        turn.task = asyncio.create_task(self._run(turn))
        return turn

    async def cancel(self, turn: Turn) -> None:
        """Stop a response; its status becomes `cancelled`."""
        turn.cancelled = True
        if turn.task is not None:
            turn.task.cancel()
            await asyncio.wait([turn.task])
        if not turn.finished:  # the task was stopped before its first step
            self._fail(turn, "The response was cancelled.")

    async def aclose(self) -> None:
        """Stop every response in progress."""
        tasks = [turn.task for turn in self._live.values() if turn.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, turn: Turn) -> None:
        recorder = OutputRecorder(turn.emit, _item_origin(turn.body))
        turn.body["output"] = recorder.output
        try:
            await self._delay(turn)
            turn.body["status"] = "in_progress"
            turn.emit("response.in_progress", response=turn.body)
            await self._generate(turn, recorder)
        except ModelError as error:
            self._fail(turn, str(error))
        except asyncio.CancelledError:
            self._fail(turn, "The response was cancelled.")
            if not turn.cancelled:
                raise
        except Exception:
            logger.exception("response %s failed", turn.body["id"])
            self._fail(turn, "The server had an error while processing your request.")

    async def _generate(self, turn: Turn, recorder: OutputRecorder) -> None:
        fault = turn.plan.fault
        pause = fault.seconds if fault is not None and fault.kind is FaultKind.SLOW else 0.0
        if asked := hosted.asked_by(turn.plan.prompt):
            recorder.ask(asked)
            usage = TokenUsage(await self._model.count_tokens(turn.plan.prompt), 1)
            self._finish(turn, recorder, Finished(FinishReason.STOP, usage))
            return
        async with aclosing(self._model.generate(turn.plan.prompt)) as deltas:
            async for delta in deltas:
                if isinstance(delta, Finished):
                    self._finish(turn, recorder, delta)
                    return
                if fault is not None and fault.kind in FAILING:
                    raise ModelError(MODEL_FAILED)
                recorder.add(delta)
                await asyncio.sleep(pause)
                if fault is not None and fault.kind is FaultKind.INCOMPLETE:
                    usage = TokenUsage(await self._model.count_tokens(turn.plan.prompt), 1)
                    self._finish(turn, recorder, Finished(FinishReason.LENGTH, usage))
                    return

    def _finish(self, turn: Turn, recorder: OutputRecorder, end: Finished) -> None:
        body, fault = turn.body, turn.plan.fault
        self.ledger.bill(end.usage)
        complete = end.reason is FinishReason.STOP
        recorder.finish("completed" if complete else "incomplete")
        if not complete:
            reason = "max_output_tokens" if end.reason is FinishReason.LENGTH else "content_filter"
            body["incomplete_details"] = {"reason": reason}
        if fault is not None and fault.kind is FaultKind.WRONG_USAGE:
            body["usage"] = fault.body
        elif fault is None or fault.kind is not FaultKind.NO_USAGE:
            body["usage"] = _usage(end.usage)
        self._conclude(turn, "completed" if complete else "incomplete")

    def _fail(self, turn: Turn, message: str) -> None:
        body = turn.body
        body["output"] = []
        if not turn.cancelled:
            body["error"] = _error_of(turn.plan, message)
        self._conclude(turn, "cancelled" if turn.cancelled else "failed")

    def _conclude(self, turn: Turn, status: str) -> None:
        """Set the final status, add the last event, record it and unlock the conversation."""
        body = turn.body
        body["status"] = status
        body["completed_at"] = int(time.time()) if status == "completed" else None
        event = "failed" if status == "cancelled" else status
        turn.emit(f"response.{event}", response=body)
        self._record_end(turn)
        self.unlock(turn.plan.conversation_id)
        del self._live[body["id"]]

    def _record_start(self, plan: Plan) -> None:
        body = plan.body
        agent: JsonObject = body["agent_reference"] or {}
        if plan.conversation_id is not None:
            self._store.add_items(plan.conversation_id, plan.input_items)
        if plan.store:
            self._store.insert(
                "responses",
                id=body["id"],
                owner=plan.owner,
                conversation_id=plan.conversation_id,
                previous_response_id=body["previous_response_id"],
                agent_name=agent.get("name"),
                agent_id=f"{agent['name']}:{agent['version']}" if agent else None,
                status=body["status"],
                streamed=plan.streamed,
                body=body,
                input=plan.input_items,
            )

    def _record_end(self, turn: Turn) -> None:
        body, conversation_id = turn.body, turn.plan.conversation_id
        if conversation_id is not None and self._store.find("conversations", id=conversation_id):
            self._store.add_items(conversation_id, copy.deepcopy(body["output"]))
        if turn.plan.store:
            events = [json.loads(event) for event in turn.events] if turn.plan.streamed else None
            changes: JsonObject = {"status": body["status"], "body": body, "events": events}
            self._store.update("responses", {"id": body["id"]}, **changes)

    async def _delay(self, turn: Turn) -> None:
        fault = turn.plan.fault
        if fault is not None and fault.kind is FaultKind.USER_ITEM_THEN_DROP:
            await asyncio.sleep(fault.after)


def _error_of(plan: Plan, message: str) -> JsonObject | None:
    """The error of a failed response; None if an event has it instead."""
    if plan.fault is None or plan.fault.kind not in FAILING:
        return {"code": "server_error", "message": message}
    in_event = plan.fault.kind is not FaultKind.FAILED and plan.events_wanted
    return None if in_event else plan.fault.error


def _item_origin(body: JsonObject) -> JsonObject:
    """The fields that Foundry adds to every output item of the OpenAI type."""
    origin: JsonObject = {"response_id": body["id"]}
    if body["agent_reference"] is not None:
        origin["agent_reference"] = body["agent_reference"]
    return origin


def _usage(usage: TokenUsage | None) -> JsonObject | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
