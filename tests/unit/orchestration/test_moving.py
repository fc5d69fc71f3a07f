"""A conversation that moves between models keeps its context, and each message once."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from shared.orchestration import ModelType
from shared.turns.conversation import MessagePair, estimated_tokens
from tests.support.net import FOUNDRY, OPENAI, VLLM, Net, foundry_config, model_settings

from .conftest import Asking, Build

FOUNDRY_TYPE, VLLM_TYPE = ModelType.FOUNDRY_AGENT_SERVICE, ModelType.VLLM
UNAVAILABLE = httpx.Response(503, json={"error": {"code": "server_error", "message": "down"}})


@pytest.fixture(params=["resource", "project", "no threads"])
def moving(request: pytest.FixtureRequest, build: Build) -> Asking:
    """Foundry with a chain of responses, with conversations, and without threads."""
    kind: str = request.param
    return build(
        foundry_config(project=kind == "project", enable_stateful_threads=kind != "no threads")
    )


def said(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Role and text of the messages of a chat completion."""
    return [(message["role"], message["content"]) for message in body["messages"]]


async def test_six_turns_that_change_the_model_twice_keep_their_context(
    moving: Asking, net: Net
) -> None:
    plan = [FOUNDRY_TYPE, FOUNDRY_TYPE, VLLM_TYPE, VLLM_TYPE, FOUNDRY_TYPE, FOUNDRY_TYPE]
    questions = ["My name is Ada.", "two", "three", "What is my name?", "five", "/history"]
    answers = [await moving.ask(text, kind) for text, kind in zip(questions, plan, strict=True)]

    assert [answer.source for answer in answers] == plan
    assert answers[3].result.content == "Your name is Ada."
    assert json.loads(answers[5].result.content) == questions
    assert len({answer.opened.thread_id for answer in answers}) == 1
    assert said(net.asked(VLLM)[1]) == [
        ("user", "My name is Ada."),
        ("assistant", "You said: My name is Ada."),
        ("user", "two"),
        ("assistant", "You said: two"),
        ("user", "three"),
        ("assistant", "You said: three"),
        ("user", "What is my name?"),
    ]


async def test_foundry_is_sent_what_others_answered_only_once(build: Build, net: Net) -> None:
    asking = build(foundry_config(project=True))
    for text, kind in [("a", FOUNDRY_TYPE), ("b", VLLM_TYPE), ("c", FOUNDRY_TYPE)]:
        await asking.ask(text, kind)
    answer = await asking.ask("d", FOUNDRY_TYPE)
    inputs = [[item["content"] for item in body["input"]] for body in net.asked(FOUNDRY)]
    assert inputs == [["a"], ["b", "You said: b", "c"], ["d"]]
    assert answer.result.content == "You said: d"


async def test_a_turn_lost_in_foundry_and_answered_elsewhere_stands_there_once(
    build: Build, net: Net
) -> None:
    """Foundry runs the turn, but its answer never comes."""
    asking = build(foundry_config(project=True))
    await asking.ask("first")
    net.lose_answer(FOUNDRY)
    lost = await asking.ask("second")
    assert lost.source is VLLM_TYPE
    net.down(FOUNDRY, None)
    answer = await asking.ask("/history")
    assert answer.source is FOUNDRY_TYPE
    assert json.loads(answer.result.content) == ["first", "second", "/history"]
    deleted = [seen.path for seen in net.seen[FOUNDRY] if seen.method == "DELETE"]
    assert len([path for path in deleted if "/conversations/" in path]) == 1
    assert len([path for path in deleted if "/responses/" in path]) == 2


async def test_a_turn_that_never_reached_foundry_leaves_its_thread(build: Build, net: Net) -> None:
    asking = build(foundry_config(project=True))
    await asking.ask("first")
    net.fail(FOUNDRY, UNAVAILABLE)
    assert (await asking.ask("second")).source is VLLM_TYPE
    answer = await asking.ask("/history")
    assert json.loads(answer.result.content) == ["first", "second", "/history"]
    made = [seen for seen in net.seen[FOUNDRY] if seen.path.endswith("/conversations")]
    assert len(made) == 1


async def test_conversations_do_not_hear_each_other(asking: Asking) -> None:
    await asking.ask("My name is Ada.", VLLM_TYPE, "one")
    answer = await asking.ask("What is my name?", VLLM_TYPE, "two")
    assert answer.result.content == "I do not know your name."


async def test_the_oldest_exchanges_are_left_out_where_the_context_is_full(
    build: Build, net: Net
) -> None:
    asking = build(models=model_settings(vllm_context_tokens=512))
    long = "x" * 300
    for number in range(4):
        await asking.ask(f"{number} {long}", FOUNDRY_TYPE)
    await asking.ask("short", VLLM_TYPE)
    (body,) = net.asked(VLLM)
    texts = [text for _, text in said(body)]
    assert [text[0] for text in texts] == ["3", "Y", "s"]
    room = 512 - body["max_tokens"]
    assert sum(estimated_tokens(text) for text in texts) <= room
    two = MessagePair(f"2 {long}", f"You said: 2 {long}")
    assert sum(estimated_tokens(text) for text in texts) + two.tokens > room


async def test_openai_is_asked_in_the_words_of_its_newer_models(asking: Asking, net: Net) -> None:
    answer = await asking.ask("Hi", ModelType.OPENAI, max_tokens=9, temperature=0.1)
    (body,) = net.asked(OPENAI)
    assert (body["model"], body["max_completion_tokens"]) == ("gpt-4.1", 9)
    assert body["temperature"] == 0.1
    assert "max_tokens" not in body
    assert "top_p" not in body
    assert answer.result.usage["total_tokens"] > 0
