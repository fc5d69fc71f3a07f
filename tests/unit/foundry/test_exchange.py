"""A request that may have run is looked up, never blindly sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from shared.foundry import errors
from shared.foundry.exchange import Exchange, Link
from shared.foundry.metrics import ClientMetrics
from shared.foundry.models import ThreadRef
from shared.foundry.reconcile import PAGE_ITEMS, Reconciler
from shared.foundry.responses import response_text
from shared.foundry.retry import Deadline, Gate, RetryPolicy
from shared.foundry.tools.unanswered import ABANDONED_CALL
from shared.foundry.transport import Transport
from shared.identity.credentials import ApiKeyCredential
from tests.support.scripted_foundry import (
    Pieces,
    ScriptedFoundry,
    message_item,
    response_body,
    sse,
    stream_events,
)

OPENAI = "https://acme.example/openai/v1"
CONVERSATION = ThreadRef("conv_1", last_item_id="msg_0")


class Wire:
    """Exchanges with a scripted Foundry; retries come at once."""

    def __init__(self) -> None:
        self.foundry = ScriptedFoundry()
        self.foundry.conversations["conv_1"] = [message_item("before", id="msg_0")]
        self.metrics = ClientMetrics()
        self.transport = Transport(ApiKeyCredential("k"), pool_size=9, http=self.foundry.transport)
        self.link = Link(
            self.transport,
            f"{OPENAI}/responses",
            Reconciler(OPENAI, lambda call: self.transport.send(call, seconds=5)),
            RetryPolicy(3, lambda: 0.0),
            Gate(self.metrics),
            self.metrics,
        )

    def without_retries(self) -> None:
        self.link = replace(self.link, retry=RetryPolicy(0))

    def exchange(
        self,
        thread: ThreadRef = CONVERSATION,
        *,
        seconds: float = 10,
        items: list[dict[str, Any]] | None = None,
        **more: Any,
    ) -> Exchange:
        body: dict[str, Any] = {"input": items or [user("Hi")], "store": True, **more}
        if thread.conversation_id:
            body["conversation"] = thread.conversation_id
        return Exchange(self.link, body, thread, Deadline(seconds), silence=1)

    async def ask(self, thread: ThreadRef = CONVERSATION, **more: Any) -> str:
        """The answer's text; a streamed one must be what its deltas add up to."""
        events: list[dict[str, Any]] = []
        response = await self.exchange(thread, **more).run(events.append)
        text = response_text(response)
        if more.get("stream"):
            assert text == deltas(events)
        else:
            assert not events
        return text

    @property
    def items(self) -> list[str]:
        """The conversation since it was set up."""
        kept = self.foundry.conversations["conv_1"][1:]
        return [str(item.get("content") or item.get("output")) for item in kept]

    def users(self) -> list[str]:
        kept = self.foundry.conversations["conv_1"]
        return [item["content"] for item in kept if item.get("role") == "user"]

    def looks(self) -> int:
        return sum(call.method == "GET" for call in self.foundry.calls)


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


def no_event(event: dict[str, Any]) -> None:
    raise AssertionError(f"an answer that is not streamed has no event {event}")


def deltas(events: list[dict[str, Any]]) -> str:
    return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    yield wire
    await wire.transport.aclose()


both = pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])


@both
async def test_an_answer_is_one_request(wire: Wire, stream: bool) -> None:
    assert await wire.ask(stream=stream) == "You said: Hi"
    assert len(wire.foundry.calls) == 1
    assert (wire.metrics.retries, wire.metrics.reconciliations) == (0, 0)


@both
async def test_what_never_left_is_sent_again_without_a_look(wire: Wire, stream: bool) -> None:
    wire.foundry.then(httpx.ConnectError("refused"))
    assert await wire.ask(stream=stream) == "You said: Hi"
    assert wire.looks() == 0
    assert wire.metrics.retries == 1


@both
@pytest.mark.parametrize("status", [408, 409, 429])
async def test_a_refusal_is_tried_again_without_a_look(
    wire: Wire, stream: bool, status: int
) -> None:
    code = "conversation_locked" if status == 409 else "x"
    wire.foundry.then_fail(status, {"code": code}, retry_after="0.05")
    assert await wire.ask(stream=stream) == "You said: Hi"
    assert wire.looks() == 0


@both
@pytest.mark.parametrize(
    "failure",
    # a proxy's 502 and 504 have no body, and say nothing about whether the request ran
    [httpx.ReadError("cut"), httpx.Response(500, json={}), *map(httpx.Response, (502, 504))],
)
async def test_nothing_arrived_so_it_is_sent_again(
    wire: Wire, stream: bool, failure: httpx.Response | Exception
) -> None:
    wire.foundry.then(failure)
    assert await wire.ask(stream=stream) == "You said: Hi"
    assert wire.users() == ["Hi"]
    assert (wire.looks(), wire.metrics.retries, wire.metrics.reconciliations) == (1, 1, 1)
    look = next(call for call in wire.foundry.calls if call.method == "GET")
    assert look.path.endswith("/conversations/conv_1/items")
    assert (look.query["after"], look.query["order"]) == ("msg_0", "asc")


@both
@pytest.mark.parametrize("retries", [0, 3])
async def test_an_answer_that_is_there_is_taken(wire: Wire, stream: bool, retries: int) -> None:
    wire.link = replace(wire.link, retry=RetryPolicy(retries, lambda: 0.0))
    wire.foundry.then_lose()
    assert await wire.ask(stream=stream) == "You said: Hi"
    assert wire.users() == ["Hi"]
    assert len(wire.foundry.sent) == 1
    assert wire.metrics.retries == 0


async def test_an_adopted_answer_has_its_usage_and_id(wire: Wire) -> None:
    wire.foundry.then_lose()
    response = await wire.exchange().run(no_event)
    assert response["usage"]["total_tokens"] == 5
    assert response["id"] == "resp_1"


async def test_an_answer_whose_response_is_not_kept_is_made_of_its_items(wire: Wire) -> None:
    wire.foundry.then_lose()
    wire.foundry.then(httpx.Response(404, json={}), "/responses/resp_1")
    response = await wire.exchange().run(no_event)
    assert response["status"] == "completed"
    assert response_text(response) == "You said: Hi"
    assert "usage" not in response


@both
async def test_an_answer_that_is_on_its_way_is_waited_for(wire: Wire, stream: bool) -> None:
    wire.foundry.then_hear()

    async def answer_later() -> None:
        while wire.looks() < 2:
            await asyncio.sleep(0.01)
        wire.foundry.conversations["conv_1"].append(message_item("At last", id="msg_late"))

    later = asyncio.create_task(answer_later())
    assert await wire.ask(stream=stream) == "At last"
    await later
    assert len(wire.foundry.sent) == 1
    assert wire.users() == ["Hi"]


async def test_an_answer_in_the_making_is_waited_for(wire: Wire) -> None:
    wire.foundry.then_hear()
    making = message_item("Half", id="msg_a", status="in_progress")

    async def answer_later() -> None:
        while not wire.foundry.sent:
            await asyncio.sleep(0)
        wire.foundry.conversations["conv_1"].append(making)
        while wire.looks() < 2:
            await asyncio.sleep(0.01)
        making.update(message_item("Half and whole", id="msg_a", status="completed"))

    later = asyncio.create_task(answer_later())
    assert await wire.ask() == "Half and whole"
    await later


@both
async def test_a_message_nobody_answers_is_not_sent_twice(wire: Wire, stream: bool) -> None:
    wire.foundry.then_hear()
    assert await wire.ask(stream=stream, seconds=1) == "You said: Hi"
    assert wire.users() == ["Hi"]
    assert [body["input"] for body in wire.foundry.sent] == [[user("Hi")], []]


async def test_a_second_loss_is_looked_up_as_well(wire: Wire) -> None:
    wire.foundry.then_hear(httpx.ReadError("cut"))
    wire.foundry.then_lose()
    assert await wire.ask(seconds=1) == "You said: Hi"
    assert wire.users() == ["Hi"]
    assert len(wire.foundry.sent) == 2


@both
@pytest.mark.parametrize("failures", [1, 3])
async def test_a_look_that_fails_is_made_again(wire: Wire, stream: bool, failures: int) -> None:
    wire.foundry.then_lose()
    for _ in range(failures):
        wire.foundry.then(httpx.Response(503, json={}), "/items")
    assert await wire.ask(stream=stream) == "You said: Hi"
    assert wire.users() == ["Hi"]
    assert len(wire.foundry.sent) == 1


@both
async def test_the_answer_behind_a_look_is_asked_for_again(wire: Wire, stream: bool) -> None:
    wire.foundry.then_lose()
    wire.foundry.then(httpx.ReadError("cut"), "/responses/resp_1")
    assert await wire.ask(stream=stream) == "You said: Hi"
    assert len(wire.foundry.sent) == 1


@both
async def test_where_no_look_succeeds_nothing_is_sent_again(wire: Wire, stream: bool) -> None:
    wire.foundry.then_lose()
    for _ in range(9):
        wire.foundry.then(httpx.Response(503, json={}), "/items")
    with pytest.raises(errors.ServiceUnavailableError, match="broke"):
        await wire.ask(stream=stream)
    assert wire.users() == ["Hi"]
    assert (len(wire.foundry.sent), wire.looks()) == (1, 4)


async def test_a_look_at_a_thread_that_is_gone_is_not_made_again(wire: Wire) -> None:
    wire.foundry.then_lose()
    wire.foundry.then(httpx.Response(404, json={}), "/items")
    with pytest.raises(errors.ServiceUnavailableError, match="broke"):
        await wire.ask()
    assert (len(wire.foundry.sent), wire.looks()) == (1, 1)


async def test_a_look_that_hangs_ends_with_what_was_lost(wire: Wire) -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    wire.foundry.then(hang, "/items")
    with pytest.raises(errors.TimeoutError, match="did not return the items"):
        await wire.ask(replace(CONVERSATION, look_first=True), seconds=0.1)
    assert wire.foundry.sent == []


async def test_a_look_may_need_more_than_one_page(wire: Wire) -> None:
    items = wire.foundry.conversations["conv_1"]
    items += [{"id": f"r_{n}", "type": "reasoning"} for n in range(PAGE_ITEMS + 5)]
    items += [user("Ho") | {"id": "q"}, message_item("never ours", id="a")]
    thread = replace(CONVERSATION, look_first=True)
    assert await wire.ask(thread) == "You said: Hi"
    assert wire.looks() == 2


async def test_somebody_elses_items_are_not_our_answer(wire: Wire) -> None:
    items = wire.foundry.conversations["conv_1"]

    async def intrude(_: httpx.Request) -> httpx.Response:
        items.extend([user("Ho") | {"id": "q"}, message_item("to Ho", id="a")])
        raise httpx.ReadError("cut")

    wire.foundry.then(intrude)
    assert await wire.ask() == "You said: Hi"
    assert wire.users() == ["Ho", "Hi"]


@both
async def test_a_chain_needs_no_look(wire: Wire, stream: bool) -> None:
    wire.foundry.then(httpx.ReadError("cut"))
    thread = ThreadRef(last_response_id="resp_0")
    assert await wire.ask(thread, stream=stream) == "You said: Hi"
    assert (wire.looks(), len(wire.foundry.sent)) == (0, 2)
    assert (wire.metrics.retries, wire.metrics.reconciliations) == (1, 0)


async def test_tool_results_that_arrived_are_not_sent_twice(wire: Wire) -> None:
    output = {"type": "function_call_output", "call_id": "c1", "output": "42"}
    wire.foundry.then_lose()
    assert await wire.ask(items=[output]) == "You said: 42"
    assert len(wire.foundry.sent) == 1


@both
async def test_what_an_earlier_turn_left_is_looked_at_first(wire: Wire, stream: bool) -> None:
    thread = replace(CONVERSATION, look_first=True)
    assert await wire.ask(thread, stream=stream) == "You said: Hi"
    assert [call.method for call in wire.foundry.calls] == ["GET", "POST"]


@both
async def test_the_answer_of_an_earlier_try_is_taken_at_once(wire: Wire, stream: bool) -> None:
    assert await wire.ask(stream=stream) == "You said: Hi"
    thread = replace(CONVERSATION, look_first=True)
    assert await wire.ask(thread, stream=stream) == "You said: Hi"
    assert len(wire.foundry.sent) == 1


async def test_calls_that_an_earlier_turn_left_open_are_answered(wire: Wire) -> None:
    wire.foundry.conversations["conv_1"] += [
        user("Earlier") | {"id": "q"},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f"},
        {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "f"},
        {"type": "function_call_output", "id": "fo_2", "call_id": "c2", "output": "2"},
    ]
    thread = replace(CONVERSATION, look_first=True)
    assert await wire.ask(thread) == "You said: Hi"
    assert wire.foundry.sent[0]["input"] == [
        {"type": "function_call_output", "call_id": "c1", "output": ABANDONED_CALL},
        user("Hi"),
    ]


async def test_what_stands_in_between_is_skipped_at_the_next_look(wire: Wire) -> None:
    wire.foundry.conversations["conv_1"] += [
        user("Earlier") | {"id": "q"},
        message_item("to that", id="a"),
    ]
    wire.foundry.then_lose()
    thread = replace(CONVERSATION, look_first=True)
    assert await wire.ask(thread) == "You said: Hi"
    assert wire.users() == ["Earlier", "Hi"]
    assert len(wire.foundry.sent) == 1


async def test_a_first_look_that_fails_in_passing_is_repeated(wire: Wire) -> None:
    wire.foundry.then(httpx.Response(503, json={}), "/items")
    thread = replace(CONVERSATION, look_first=True)
    assert await wire.ask(thread) == "You said: Hi"


@both
async def test_tries_come_to_an_end(wire: Wire, stream: bool) -> None:
    for _ in range(5):
        wire.foundry.then_fail(429, {"code": "rate"}, retry_after="0")
    with pytest.raises(errors.RateLimitedError):
        await wire.ask(stream=stream)
    assert len(wire.foundry.sent) == 4
    assert wire.metrics.retries == 3


async def test_a_wait_beyond_the_deadline_is_not_begun(wire: Wire) -> None:
    wire.foundry.then_fail(429, retry_after="5")
    started = asyncio.get_running_loop().time()
    with pytest.raises(errors.RateLimitedError) as caught:
        await wire.ask(seconds=2)
    assert caught.value.retry_after == 5
    assert asyncio.get_running_loop().time() - started < 1


async def test_one_refusal_by_quota_holds_everybody_back(wire: Wire) -> None:
    wire.foundry.then_fail(429, retry_after="0.2")
    first = asyncio.create_task(wire.ask())
    while not wire.foundry.sent:
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    others = [asyncio.create_task(wire.ask(ThreadRef())) for _ in range(5)]
    await asyncio.sleep(0.05)
    assert len(wire.foundry.sent) == 1
    await asyncio.gather(first, *others)
    assert len(wire.foundry.sent) == 7


async def test_no_answer_before_the_deadline_is_a_timeout(wire: Wire) -> None:
    wire.foundry.then_hold(asyncio.Event())
    with pytest.raises(errors.TimeoutError):
        await wire.ask(seconds=0.1)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_failed_response_is_its_error(wire: Wire, status: str) -> None:
    wire.without_retries()
    body = response_body(
        status=status, error={"code": "rate_limit_exceeded", "message": "Try again in 3 seconds."}
    )
    wire.foundry.then(httpx.Response(200, json=body, headers={"x-request-id": "r"}))
    with pytest.raises(errors.RateLimitedError) as caught:
        await wire.ask()
    assert (caught.value.retry_after, caught.value.request_id) == (3, "r")


@pytest.mark.parametrize("fields", [{"status": "queued"}, {"status": None}, {"status": 5}])
async def test_an_unfinished_response_is_a_protocol_error(
    wire: Wire, fields: dict[str, Any]
) -> None:
    wire.foundry.then(httpx.Response(200, json=response_body(**fields)))
    with pytest.raises(errors.ProtocolError) as caught:
        await wire.ask()
    assert caught.value.may_have_run


def streamed(text: str, **fields: Any) -> list[bytes]:
    """The frames of a streamed answer."""
    item = message_item(text, id="msg_s")
    return [sse(event) for event in stream_events(response_body(output=[item], **fields))]


async def test_a_stream_cut_after_some_text_goes_on_from_what_is_there(wire: Wire) -> None:
    async def cut(request: httpx.Request) -> httpx.Response:
        answer = await wire.foundry.answer(request)
        whole = await answer.aread()
        return httpx.Response(200, stream=Pieces([whole[: len(whole) // 2]], httpx.ReadError("x")))

    wire.foundry.then(cut)
    assert await wire.ask(stream=True, items=[user("one two three four")]) == (
        "You said: one two three four"
    )
    assert wire.users() == ["one two three four"]
    assert len(wire.foundry.sent) == 1


@pytest.mark.parametrize("error", [None, httpx.ReadError("cut")], ids=["ended", "cut"])
async def test_a_stream_cut_for_good_carries_what_arrived(
    wire: Wire, error: Exception | None
) -> None:
    frames = streamed("Hello there Ada")
    wire.foundry.then_stream(*frames[:3], error=error)
    with pytest.raises(errors.StreamInterruptedError) as caught:
        await wire.ask(ThreadRef(), stream=True)
    assert caught.value.received == "Hello there"
    assert caught.value.response_id == "resp_1"
    assert caught.value.sequence_number == 2
    first, *more = str(caught.value).removesuffix(".").split(". ")
    assert first not in more
    assert len(wire.foundry.sent) == 1


async def test_a_stored_response_completes_a_stream_that_broke(wire: Wire) -> None:
    frames = streamed("Hello there Ada")
    item = message_item("Hello there Ada", id="msg_s")
    wire.foundry.responses["resp_1"] = response_body(output=[item])
    wire.foundry.then_stream(*frames[:2], error=httpx.ReadError("cut"))
    assert await wire.ask(ThreadRef(), stream=True) == "Hello there Ada"
    assert len(wire.foundry.sent) == 1


async def test_a_response_that_still_runs_is_waited_for(wire: Wire) -> None:
    running = response_body(status="in_progress", output=[])
    wire.foundry.responses["resp_1"] = running
    wire.foundry.then_stream(*streamed("Hello Ada")[:1], error=httpx.ReadError("cut"))

    async def finish() -> None:
        while wire.looks() < 2:
            await asyncio.sleep(0.01)
        running.update(response_body(output=[message_item("Hello Ada", id="m")]))

    later = asyncio.create_task(finish())
    assert await wire.ask(ThreadRef(), stream=True) == "Hello Ada"
    await later


async def test_a_stored_answer_that_differs_does_not_complete_a_stream(wire: Wire) -> None:
    wire.foundry.responses["resp_1"] = response_body(output=[message_item("Goodbye", id="m")])
    wire.foundry.then_stream(*streamed("Hello there Ada")[:2], error=httpx.ReadError("cut"))
    with pytest.raises(errors.StreamInterruptedError):
        await wire.ask(ThreadRef(), stream=True)


async def test_what_is_not_stored_is_not_looked_up(wire: Wire) -> None:
    wire.foundry.then_stream(*streamed("Hello")[:1], error=httpx.ReadError("cut"))
    assert await wire.ask(ThreadRef(), stream=True, store=False) == "You said: Hi"
    assert wire.looks() == 0


@pytest.mark.parametrize(
    "frame",
    [
        b"data: not json\n\n",
        b"data: 5\n\n",
        b"data: []\n\n",
        b"data: null\n\n",
        b'data: {"no": "type"}\n\n',
        b'data: {"type": "response.created", "n": NaN}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"type": "response.output_text.delta", "sequence_number": "x"}\n\n',
    ],
)
async def test_an_unreadable_event_is_one_of_our_errors(wire: Wire, frame: bytes) -> None:
    wire.without_retries()
    wire.foundry.then_stream(frame)
    with pytest.raises(errors.FoundryError) as caught:
        await wire.ask(ThreadRef(), stream=True)
    assert caught.value.may_have_run


async def test_events_nobody_knows_pass_as_they_came(wire: Wire) -> None:
    odd = {"type": "response.hologram", "x": {"y": 1}, "error": None}
    frames = [b": hello\n\n", sse(odd), *streamed("Hello"), b"data: [DONE]\n\n"]
    wire.foundry.then_stream(*frames)
    events: list[dict[str, Any]] = []
    response = await wire.exchange(stream=True).run(events.append)
    assert events[0] == odd
    assert [event["type"] for event in events[1:]] == [
        "response.created",
        "response.output_text.delta",
    ]
    assert response["status"] == "completed"


async def test_an_answer_that_was_cut_by_its_length_is_an_answer(wire: Wire) -> None:
    details = {"reason": "max_output_tokens"}
    wire.foundry.then_stream(*streamed("Hel", status="incomplete", incomplete_details=details))
    response = await wire.exchange(stream=True).run(lambda _: None)
    assert response["status"] == "incomplete"


FAILED: list[dict[str, Any]] = [
    {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "m"}},
    {"type": "error", "code": "rate_limit_exceeded", "message": "m"},
    {"error": {"code": "rate_limit_exceeded", "message": "m"}},
    {
        "type": "response.failed",
        "response": {"status": "failed", "error": {"code": "rate_limit_exceeded"}},
    },
]


@pytest.mark.parametrize("event", FAILED)
async def test_a_failure_inside_a_stream_is_its_error(wire: Wire, event: dict[str, Any]) -> None:
    wire.without_retries()
    wire.foundry.then_stream(sse({"type": "error", **event}))
    with pytest.raises(errors.RateLimitedError):
        await wire.ask(ThreadRef(), stream=True)


@pytest.mark.parametrize("event", FAILED)
async def test_a_failure_before_any_text_is_tried_again(wire: Wire, event: dict[str, Any]) -> None:
    wire.foundry.then_stream(*streamed("Hello")[:1], sse({"type": "error", **event}))
    assert await wire.ask(stream=True) == "You said: Hi"
    assert wire.users() == ["Hi"]


async def test_a_failure_after_some_text_is_not_sent_again(wire: Wire) -> None:
    wire.foundry.then_stream(*streamed("Hello Ada")[:2], sse(FAILED[0]))
    with pytest.raises(errors.FoundryError):
        await wire.ask(stream=True)
    assert len(wire.foundry.sent) == 1


async def test_silence_in_a_stream_is_a_timeout(wire: Wire) -> None:
    class Silent(Pieces):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield streamed("Hello Ada")[0]
            raise httpx.ReadTimeout("silence")

    wire.without_retries()
    wire.foundry.then(httpx.Response(200, stream=Silent(())))
    with pytest.raises(errors.TimeoutError, match="sent nothing for 1 s"):
        await wire.ask(ThreadRef(), stream=True, store=False)


async def test_an_exchange_that_is_cancelled_closes_its_connection_at_once(wire: Wire) -> None:
    begun = asyncio.Event()

    class Endless(Pieces):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield streamed("Hello there Ada")[0]
            begun.set()
            await asyncio.Event().wait()

    body = Endless(())
    wire.foundry.then(httpx.Response(200, stream=body))
    running = asyncio.create_task(wire.exchange(stream=True).run(lambda _: None))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert body.closed


async def test_a_stream_may_be_split_at_every_byte(wire: Wire) -> None:
    whole = b"".join(streamed("Grüß dich 🙂 Ada"))
    wire.foundry.then_stream(*(whole[n : n + 1] for n in range(len(whole))))
    assert await wire.ask(stream=True) == "Grüß dich 🙂 Ada"
