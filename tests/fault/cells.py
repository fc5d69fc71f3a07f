"""One cell of the matrix: a trouble, met in one way, at one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from local.processes import free_port
from shared.foundry.models import ThreadRef, TurnRequest
from tests.support.laboratory import JsonObject, Laboratory, Where, answered, new_name, said

from .troubles import STREAM_FAULTS, Trouble
from .turning import ANSWER, Got, Way, take_turn

NEXT_TIMEOUT_SECONDS = 8.0
"""Of the turn after, which may have to wait for an answer that comes late."""


@dataclass(frozen=True)
class Report:
    """What became of a cell."""

    cell: str
    mark: JsonObject
    thread: ThreadRef | None
    got: Got
    then: Got
    """The next turn: the same message after a failure, another one after an answer."""
    wrong: tuple[str, ...]
    """What should not have been, in words."""
    duplicated: int = 0
    lost: bool = False
    cut_as_complete: bool = False


@dataclass(frozen=True)
class Cell:
    """Runs one cell."""

    lab: Laboratory
    trouble: Trouble
    way: Way
    where: Where

    @property
    def is_spared(self) -> bool:
        """Whether the trouble cannot be felt: a plain answer has no events to spoil."""
        return self.way is Way.JSON and self.trouble.fault.get("kind") in STREAM_FAULTS

    def __str__(self) -> str:
        return f"{self.trouble.name} x {self.way} x {self.where}"

    async def run(self) -> Report:
        name = new_name("say")
        text, mark = self.trouble.message.format(name=name), {"cell": name}
        thread = await self._begin(name)
        if self.trouble.fault and not (self.trouble.gone and thread):
            await self.lab.arm(mark=mark, **self.trouble.fault)
        got = await self._turn(TurnRequest(text, metadata=mark), thread)
        if self.trouble.fault.get("kind") == "hang":
            await self.lab.until_worked(mark)
        repeat = got.error is not None
        next_text = text if repeat else new_name("then")
        then = await self._next(next_text, thread, got)
        report = Report(str(self), mark, thread, got, then, ())
        return await self._judge(report, text, next_text)

    async def _begin(self, name: str) -> ThreadRef | None:
        """What the turn continues; a chain has one turn already."""
        if self.where is Where.ALONE:
            return None
        service = await self.lab.shared(self.where, NEXT_TIMEOUT_SECONDS)
        thread = await service.create_thread({})
        if self.where is Where.CHAIN:
            earlier = await service.respond(TurnRequest(f"before-{name}"), thread)
            thread = replace(thread, last_response_id=earlier.response_id)
        if self.trouble.gone:
            await self.lab.delete(thread)
        return thread

    async def _turn(self, turn: TurnRequest, thread: ThreadRef | None) -> Got:
        timeout = self.trouble.timeout
        if self.trouble.alone_in_process:
            settings: dict[str, Any] = {"timeout": timeout}
            if self.trouble.unreachable:
                endpoint = self.lab.config(self.where).endpoint_url
                nobody = f"http://127.0.0.1:{free_port()}"
                settings["endpoint_url"] = endpoint.replace(self.lab.emulator.url, nobody)
            async with self.lab.service(self.where, **settings) as service:
                return await take_turn(service, self.way, turn, thread)
        return await take_turn(await self.lab.shared(self.where, timeout), self.way, turn, thread)

    async def _next(self, text: str, thread: ThreadRef | None, got: Got) -> Got:
        """The next turn, by a service that knows only where the thread stood."""
        if thread is not None and got.result is not None:
            thread = replace(
                thread,
                last_response_id=got.result.response_id,
                last_item_id=got.result.last_item_id,
            )
        elif thread is not None:
            thread = replace(thread, look_first=True)
        service = await self.lab.shared(self.where, NEXT_TIMEOUT_SECONDS)
        return await take_turn(service, self.way, TurnRequest(text), thread)

    async def _judge(self, report: Report, text: str, next_text: str) -> Report:
        items: list[JsonObject] = []
        thread = report.thread
        last = report.then.result or report.got.result
        if thread and thread.conversation_id:
            items = await self.lab.items(thread.conversation_id)
        elif thread and last:
            items = await self.lab.chain(last.response_id)
        answers = {report.got.text, report.then.text}
        delivered = f"You said: {text}" in answers
        cut = report.got.outcome == ANSWER and report.got.text != f"You said: {text}"
        return replace(
            report,
            wrong=tuple(self._wrong(report, next_text, items)),
            duplicated=sum(max(said(items, t) - 1, 0) for t in {text, next_text}),
            lost=not delivered and (answered(items, text) or self._must_come(report)),
            cut_as_complete=cut,
        )

    def _must_come(self, report: Report) -> bool:
        """Whether the message gets an answer sooner or later."""
        return self.trouble.recovers and report.got.outcome != "length"

    def _wrong(self, report: Report, next_text: str, items: list[JsonObject]) -> list[str]:
        wrong: list[str] = []
        expected = self.trouble.expected(self.way, self.where)
        if report.got.outcome not in expected:
            wrong.append(f"{report.got.outcome} instead of {expected}: {report.got.error}")
        if self.way is Way.STREAM and report.got.text not in {None, report.got.streamed}:
            wrong.append(f"streamed {report.got.streamed!r}, completed {report.got.text!r}")
        if self.trouble.recovers and report.then.text != f"You said: {next_text}":
            wrong.append(f"next turn: {report.then.outcome} {report.then.text}")
        if self.trouble.recovers and self.where is not Where.ALONE and not said(items, next_text):
            wrong.append("the next turn's message is not in the thread")
        return wrong
