"""Conversations in Table Storage: found by every instance, one turn at a time, each turn kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from shared.audit.trail import AuditTrail
from shared.foundry.errors import ServiceUnavailableError
from shared.foundry.models import TurnRequest, TurnResult
from shared.metering.meter import Meter
from shared.orchestration import ModelType
from shared.state.conversation_ids import ConversationIds
from shared.state.errors import LaneBusyError, LeaseLostError, StorageUnavailableError
from shared.state.exchanges import Exchanges
from shared.state.idempotency import Claim, IdempotencyKeys
from shared.state.keys import identifier
from shared.state.lanes import LEASE_SECONDS, Lanes
from shared.state.threads import Thread, Threads
from shared.turns.answerer import Answerer
from shared.turns.command import AnsweredTurn, RunningTurn, TurnOpened
from shared.turns.pipeline import Turns, TurnStorage
from shared.turns.recording import Recording
from tests.support.fakes import FakeClock, FakeQueues, FakeTable, unlimited
from tests.support.net import FOUNDRY, OPENAI, VLLM, Net, foundry_config, model_settings

from .conftest import Asking, Build, command

OWNER = "local"
FOUNDRY_TYPE, VLLM_TYPE = ModelType.FOUNDRY_AGENT_SERVICE, ModelType.VLLM
UNAVAILABLE = httpx.Response(503, json={"error": {"message": "down"}})


@dataclass
class Delayed:
    """Does something before it has a turn answered."""

    answerer: Answerer
    before: Callable[[], Awaitable[None]] | None

    async def answer(self, turn: RunningTurn) -> TurnResult:
        if self.before:
            await self.before()
        return await self.answerer.answer(turn)


class World:
    """Storage that several instances of the app share."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self.table, self.audit_table = FakeTable(), FakeTable()
        self.clock = FakeClock()
        self.queues = FakeQueues()

    def instance(
        self,
        *,
        record_content: bool = True,
        before_answer: Callable[[], Awaitable[None]] | None = None,
        **models: Any,
    ) -> Asking:
        lanes = Lanes(self.table, self.clock)
        recording = Recording(
            AuditTrail(self.audit_table, self.table, None),
            Meter(FakeTable()),
            unlimited(self.clock),
            content=record_content,
        )
        ids = ConversationIds(self.table, lanes, self.clock)
        storage = TurnStorage(
            self.table, lanes, self.clock, self.queues.wake, ids, keep_history=record_content
        )
        return self._build(
            foundry_config(project=True),
            model_settings(**models),
            lambda answerer: Turns(None, Delayed(answerer, before_answer), storage, recording),
        )

    def rows(self, prefix: str) -> list[dict[str, Any]]:
        return [dict(row.values) for row in self.table.rows(OWNER, prefix)]

    def thread(self) -> Thread:
        (row,) = self.table.rows(OWNER, "thread:")
        return Thread.from_row(OWNER, row)


@pytest.fixture
def world(build: Build) -> World:
    return World(build)


@dataclass
class Repeated:
    """A request with an idempotency key, made again after failures."""

    world: World
    asking: Asking

    async def ask(self, text: str) -> AnsweredTurn:
        return await self.send(TurnRequest(text))

    async def send(self, request: TurnRequest) -> AnsweredTurn:
        keys = IdempotencyKeys(self.world.table, self.world.clock)
        claim = await keys.claim(OWNER, "key", "fingerprint")
        assert isinstance(claim, Claim)
        asked, turns = replace(command(request), claim=claim), self.asking.turns
        assert isinstance(turns, Turns)
        try:
            return await turns.run(asked, lambda _: [claim.reopen()])
        except BaseException:
            await claim.give_up()
            raise


def all_down(net: Net, fault: httpx.Response | None) -> None:
    for host in (FOUNDRY, VLLM, OPENAI):
        net.down(host, fault)


async def test_any_instance_goes_on_with_a_conversation(world: World) -> None:
    first = await world.instance().ask("My name is Ada.")
    second = await world.instance().ask("What is my name?", VLLM_TYPE)
    third = await world.instance().ask("/history")
    assert second.result.content == "Your name is Ada."
    assert json.loads(third.result.content)[:2] == ["My name is Ada.", "What is my name?"]
    thread = world.thread()
    assert {turn.opened.thread_id for turn in (first, second, third)} == {thread.thread_id}
    assert (thread.message_count, thread.messages_in_foundry) == (3, 3)
    assert thread.conversation_id
    assert thread.total_tokens > 0


async def test_each_turn_is_recorded_with_its_thread(world: World, net: Net) -> None:
    asking = world.instance(preferences="*=foundry_agent_service")
    await asking.ask("Hi", domain="sales")
    net.down(FOUNDRY, UNAVAILABLE)
    with pytest.raises(ServiceUnavailableError):
        await asking.ask("Ho")
    answered, failed = world.rows(f"turn:{world.thread().thread_id}:")
    assert (answered["status"], answered["answer"]) == ("succeeded", "You said: Hi")
    assert (answered["domain"], answered["model"]) == ("sales", "llama-3.3-70b")
    assert answered["total_tokens"] > 0
    assert (failed["status"], failed["error_code"]) == ("failed", "service_unavailable")
    assert len(world.rows("exchange:")) == 1
    assert world.thread().unsettled


async def test_a_turn_on_a_known_thread_takes_two_transactions(world: World) -> None:
    asking = world.instance()
    for _ in range(3):
        await asking.ask("Hi")
        world.table.reset_counts()
    await asking.ask("Hi")
    assert world.table.transactions == 2


async def test_a_long_history_is_read_in_pages_and_only_as_far_as_it_fits(
    world: World, net: Net
) -> None:
    asking = world.instance(vllm_context_tokens=4096)
    for number in range(45):
        await asking.ask(f"message {number}")
    world.table.reset_counts()
    await asking.ask("/history", VLLM_TYPE)
    assert world.table.reads == 3
    sent = [m["content"] for m in net.asked(VLLM)[0]["messages"] if m["role"] == "user"]
    assert sent == [f"message {number}" for number in range(45)] + ["/history"]


async def test_a_second_turn_at_once_is_refused(world: World, net: Net) -> None:
    asking, other = world.instance(), world.instance()
    await asking.ask("Hi")
    net.fail(FOUNDRY, 0.3)
    events = asking.turns.stream(command(TurnRequest("slow")))
    assert isinstance(await anext(events), TurnOpened)
    with pytest.raises(LaneBusyError):
        await other.ask("Ho")
    assert isinstance([event async for event in events][-1], AnsweredTurn)
    assert (await other.ask("Ho")).result.content == "You said: Ho"


@pytest.mark.parametrize("model_type", [FOUNDRY_TYPE, VLLM_TYPE])
@pytest.mark.parametrize("streamed", [False, True])
async def test_no_model_is_asked_once_the_conversation_was_taken_over(
    world: World, net: Net, model_type: ModelType, *, streamed: bool
) -> None:
    """The process stands still before it asks, for longer than its lease."""
    other = world.instance()
    await other.ask("Hi", model_type)

    async def stand_still() -> None:
        world.clock.advance(LEASE_SECONDS)
        await other.ask("Ho", model_type)

    stalled = world.instance(before_answer=stand_still)
    with pytest.raises(LeaseLostError):
        await (stalled.stream if streamed else stalled.ask)("Ho", model_type)
    assert len(net.asked(FOUNDRY)) + len(net.asked(VLLM)) == 2
    assert [row["question"] for row in world.rows("turn:")] == ["Hi", "Ho"]


async def test_a_thread_in_foundry_is_not_deleted_once_it_was_taken_over(
    world: World, net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another model answered what Foundry lost; the process stands still before a new thread."""
    asking = world.instance()
    await asking.ask("Hi")
    net.lose_answer(FOUNDRY)
    await asking.ask("Ha")
    net.down(FOUNDRY, None)
    net.seen.clear()
    carry = net.handle_async_request

    async def stand_still(call: httpx.Request) -> httpx.Response:
        answer = await carry(call)
        world.clock.advance(LEASE_SECONDS)
        (row,) = world.table.rows(OWNER, "thread:")
        await Lanes(world.table, world.clock).take(OWNER, row.row_key, "another")
        return answer

    monkeypatch.setattr(net, "handle_async_request", stand_still)
    with pytest.raises(LeaseLostError):
        await asking.ask("Ho")
    assert [seen.method for seen in net.seen[FOUNDRY]] == ["GET"]


async def test_two_who_begin_a_conversation_at_once_share_its_thread(world: World) -> None:
    def busy_or(result: object) -> bool:
        return isinstance(result, LaneBusyError) or not isinstance(result, BaseException)

    asked = [world.instance().ask(str(number)) for number in range(4)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert all(busy_or(result) for result in results), results
    assert len(world.rows("thread:")) == len(world.rows("conversation:")) == 1


async def test_a_turn_whose_instance_died_is_looked_for_first(world: World, net: Net) -> None:
    asking = world.instance()
    await asking.ask("first")
    thread = world.thread()
    lanes = Lanes(world.table, world.clock)
    await lanes.take(OWNER, world.table.rows(OWNER, "thread:")[0].row_key, "dead")
    world.clock.advance(LEASE_SECONDS + 1)
    net.seen.clear()
    await asking.ask("second")
    looked = [seen.path for seen in net.seen[FOUNDRY] if seen.method == "GET"]
    assert any(path.endswith(f"/{thread.conversation_id}/items") for path in looked)


async def test_a_conversation_whose_thread_was_deleted_begins_anew(world: World) -> None:
    asking = world.instance()
    old = await asking.ask("My name is Ada.")
    (row,) = world.table.rows(OWNER, "thread:")
    del world.table.partitions[OWNER][row.row_key]
    for instance in (asking, world.instance()):
        answer = await instance.ask("What is my name?")
        assert answer.opened.thread_id != old.opened.thread_id
        assert answer.result.content == "I do not know your name."
    assert len(world.rows("conversation:")) == 1


async def test_without_content_no_text_is_kept(world: World) -> None:
    asking = world.instance(record_content=False)
    await asking.ask("My name is Ada.")
    assert (await asking.ask("What is my name?")).result.content == "Your name is Ada."
    moved = await asking.ask("What is my name?", VLLM_TYPE)
    assert moved.result.content == "I do not know your name."
    assert world.rows("exchange:") == []
    assert all("Ada" not in str(row) for row in world.rows("turn:"))


async def test_jobs_that_waited_for_the_turn_are_woken(world: World) -> None:
    asking = world.instance()
    await asking.ask("Hi")
    (row,) = world.table.rows(OWNER, "thread:")
    await Lanes(world.table, world.clock).write(OWNER, row, {"job_tail": 1}, ())
    await asking.ask("Ho")
    assert [wake.lane for wake in world.queues.wake_ups] == [identifier(row.row_key)]


async def test_an_exchange_too_large_for_a_row_is_cut(world: World) -> None:
    asking = world.instance(vllm_context_tokens=1_000_000)
    await asking.ask("x" * 900_000)
    kept = await Exchanges(world.table).read(OWNER, world.thread().thread_id, 0, 1)
    assert len(kept[0]["question"]) > 200_000
    assert kept[0]["answer"].startswith("You said: x")


async def test_exchanges_can_be_removed(world: World) -> None:
    asking = world.instance()
    for _ in range(3):
        await asking.ask("Hi")
    await asking.ask("Hi", conversation="other")
    exchanges = Exchanges(world.table)
    thread_id = (await asking.ask("Hi")).thread_id
    assert thread_id is not None
    await exchanges.remove(OWNER, thread_id)
    assert len(world.rows("exchange:")) == 1


async def test_a_message_is_not_looked_for_after_an_item_of_a_thread_that_was_created_again(
    world: World, net: Net
) -> None:
    asking = world.instance()
    repeated = Repeated(world, asking)
    await asking.ask("first")
    await asking.ask("second", VLLM_TYPE)
    all_down(net, UNAVAILABLE)
    net.down(FOUNDRY, None)
    net.lose_answer(FOUNDRY)
    with pytest.raises(ServiceUnavailableError):
        await repeated.ask("/history")
    all_down(net, None)
    answer = await repeated.ask("/history")
    assert json.loads(answer.result.content) == ["first", "second", "/history"]


async def test_a_retry_on_a_thread_that_was_deleted_meanwhile_begins_anew(
    world: World, net: Net
) -> None:
    asking = world.instance()
    repeated = Repeated(world, asking)
    await asking.ask("first")
    all_down(net, UNAVAILABLE)
    with pytest.raises(ServiceUnavailableError):
        await repeated.ask("/history")
    all_down(net, None)
    thread = world.thread()
    await Threads(world.table, Lanes(world.table, world.clock), world.clock).start_removal(
        OWNER, thread.thread_id, removed_from=world.clock()
    )
    answer = await repeated.ask("/history")
    assert json.loads(answer.result.content) == ["/history"]


async def test_a_thread_whose_history_is_not_stored_is_kept(world: World, net: Net) -> None:
    asking = world.instance(record_content=False)
    await asking.ask("first")
    net.lose_answer(FOUNDRY)
    assert (await asking.ask("second")).source is VLLM_TYPE
    net.down(FOUNDRY, None)
    answer = await asking.ask("/history")
    assert json.loads(answer.result.content) == ["first", "second", "/history"]
    assert not world.thread().unsettled


async def test_a_message_is_not_looked_for_in_a_thread_that_another_turn_created_again(
    world: World, net: Net
) -> None:
    asking = world.instance()
    repeated = Repeated(world, asking)
    await asking.ask("first")
    await asking.ask("second", VLLM_TYPE)
    all_down(net, UNAVAILABLE)
    net.down(FOUNDRY, None)
    net.lose_answer(FOUNDRY)
    with pytest.raises(ServiceUnavailableError):
        await repeated.ask("/history")
    all_down(net, None)
    await asking.ask("third")
    answer = await repeated.ask("/history")
    assert json.loads(answer.result.content) == ["first", "second", "third", "/history"]


async def test_a_history_that_cannot_be_read_leaves_no_lease(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise StorageUnavailableError("away")

    asking = world.instance()
    await asking.ask("first")
    with monkeypatch.context() as patch:
        patch.setattr(Exchanges, "read", fail)
        with pytest.raises(StorageUnavailableError):
            await asking.ask("second", VLLM_TYPE)
    assert world.thread().unsettled
    assert (await asking.ask("second")).result.content == "You said: second"
