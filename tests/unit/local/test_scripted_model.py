"""The rules of the scripted model."""

import asyncio
import json
from typing import Any

import pytest

from local.model import (
    Finished,
    FinishReason,
    ModelError,
    Prompt,
    PromptBlockedError,
    PromptTooLongError,
    RefusalDelta,
    ScriptedModel,
    TextDelta,
    ToolCallDelta,
    fit_to_context,
)

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "add", "parameters": {}}}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


async def run(*messages: dict[str, Any], **settings: Any) -> list[Any]:
    prompt = Prompt(messages=messages, **settings)
    return [delta async for delta in ScriptedModel().generate(prompt)]


def text_of(deltas: list[Any]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("hello", "You said: hello"),
        ("/words 3", "word1 word2 word3"),
        ("/json", "{}"),
        ("What is my name?", "I do not know your name."),
        ("/call add {}", "You said: /call add {}"),
    ],
)
async def test_one_message(said: str, answer: str) -> None:
    assert text_of(await run(user(said))) == answer


async def test_it_uses_the_history() -> None:
    history = [user("My name is Ada."), {"role": "assistant", "content": "Hello."}]
    assert text_of(await run(*history, user("What is my name?"))) == "Your name is Ada."
    told = json.loads(text_of(await run(*history, user("/history"))))
    assert told == ["My name is Ada.", "/history"]
    system = {"role": "system", "content": "Be brief."}
    assert text_of(await run(system, user("/system"))) == "Be brief."


async def test_it_calls_declared_tools_and_reads_their_outputs() -> None:
    asked = user('/call add {"a": 1}\n/call other {}\n/call add')
    deltas = await run(asked, tools=[TOOL])
    calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert [(c.index, c.arguments) for c in calls] == [(0, '{"a": 1}'), (1, "{}")]
    assert len({c.call_id for c in calls}) == 2
    called = [{"id": c.call_id, "function": {"name": c.name}} for c in calls]
    outputs = [{"role": "tool", "tool_call_id": c.call_id, "content": "2"} for c in calls]
    answer = await run(asked, {"role": "assistant", "tool_calls": called}, *outputs, tools=[TOOL])
    assert text_of(answer) == "add answered: 2\nadd answered: 2"
    assert text_of(await run(asked, tools=[TOOL], tool_choice="none")).startswith("You said")


async def test_it_counts_words_and_stops_at_the_limit() -> None:
    deltas = await run(user("/words 9"), max_output_tokens=4)
    end = deltas[-1]
    assert isinstance(end, Finished)
    assert end.reason is FinishReason.LENGTH
    assert end.usage is not None
    assert (end.usage.input_tokens, end.usage.output_tokens) == (2, 4)


async def test_refusal_filter_and_failure() -> None:
    assert isinstance((await run(user("/refuse")))[0], RefusalDelta)
    assert (await run(user("/filter")))[-1].reason is FinishReason.CONTENT_FILTER
    with pytest.raises(ModelError):
        await run(user("/fail"))
    with pytest.raises(PromptBlockedError):
        ScriptedModel().screen(Prompt(messages=[user("a [[content_filter]] b")]))


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"const": 7}}}, 7),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"type": ["string", "null"], "minLength": 2}, "xx"),
        ({"type": "number", "exclusiveMinimum": 1}, 2),
        ({"allOf": [{"type": "object", "required": ["a"]}], "properties": {"a": {}}}, {"a": None}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {}),
        ({"$ref": "#"}, {}),
        ({"type": "object", "allOf": [{"$ref": "#"}]}, {}),
        ({"type": "no type"}, {}),
        ({"type": "array", "minItems": 10**9}, {}),
    ],
)
async def test_minimal_instances(schema: dict[str, Any], instance: object) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert json.loads(text_of(await run(user("go"), response_format=form))) == instance


async def test_it_answers_what_it_is_made_to_whatever_form_was_asked_for() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}
    assert text_of(await run(user('/answer {"a": 1}'), response_format=form)) == '{"a": 1}'


async def test_a_closed_generation_stops() -> None:
    model = ScriptedModel(token_delay_seconds=60)
    task = asyncio.ensure_future(anext(model.generate(Prompt(messages=[user("hi")]))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_history_is_trimmed_by_whole_turns() -> None:
    model = ScriptedModel(context_tokens=16)
    system = {"role": "system", "content": "one two"}
    turns: list[dict[str, Any]] = []
    for number in range(4):
        turns += [user(f"question {number} x"), {"role": "assistant", "content": "answer"}]
    last = user("last question")
    fitted = await fit_to_context(model, Prompt(messages=[system, *turns, last]))
    assert list(fitted.messages) == [system, *turns[4:], last]
    untouched = Prompt(messages=[system, last])
    assert await fit_to_context(model, untouched) is untouched
    with pytest.raises(PromptTooLongError):
        await fit_to_context(model, Prompt(messages=[user("word " * 20)]))
