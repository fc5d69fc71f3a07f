"""Schemas and answers made to cost much: refused by their bounds, or judged within theirs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from time import process_time
from typing import Any

import pytest

from shared.foundry import judging
from shared.foundry.errors import InvalidRequestError, ProtocolError
from shared.foundry.judging import CACHED_SCHEMAS, Schema
from shared.foundry.structured import (
    AnswerText,
    parse_structured,
    parsed,
    response_format,
    unfenced,
)

SECONDS_AT_MOST = 1.0
"""Of processor time, for what takes milliseconds: the machine does other things too."""

SLOW = "[ab]{0,500}[^a][ab]{0,500}c"
"""Linear, as all expressions of that engine; but at 20 us for each character."""


def of(a: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": a}, **more}


def chained(make: Callable[[Any], Any], count: int) -> dict[str, Any]:
    """Definitions each of which refers to the next twice."""
    links = {f"n{n}": make({"$ref": f"#/$defs/n{n - 1}"}) for n in range(1, count)}
    return of({"$ref": f"#/$defs/n{count - 1}"}, **{"$defs": {"n0": {"type": "integer"}, **links}})


def nested(schema: Any, count: int, name: str = "anyOf") -> Any:
    for _ in range(count):
        schema = {name: [schema, schema]}
    return schema


def deep(count: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(count):
        schema = of(schema)
    return schema


def endless() -> dict[str, Any]:
    schema: dict[str, Any] = of({})
    schema["properties"]["a"] = schema
    return schema


BOMBS = {
    "1,000 patterns": {"type": "object", "patternProperties": {f"^a{n}$": {} for n in range(1000)}},
    "3,500 patterns": {
        "type": "object",
        "patternProperties": {f"^\\p{{L}}{{{n}}}$": {} for n in range(3500)},
    },
    "a pattern too large": of({"pattern": "a{1000}{1000}"}),
    "a pattern too long": of({"pattern": "a" * 257}),
    "a pattern that looks around": of({"pattern": "(?=x)"}),
    **{
        f"{name} chained": chained(lambda ref, name=name: {name: [ref, ref]}, 18)
        for name in ("anyOf", "oneOf", "allOf")
    },
    "anyOf chained in few steps": chained(lambda ref: nested(ref, 2), 8),
    "anyOf nested": of(nested({"type": "integer"}, 12)),
    "anyOf of children chained": chained(lambda ref: {"anyOf": [of(ref), of(ref)]}, 12),
    "if, then, else chained": chained(lambda ref: {"if": ref, "then": ref, "else": ref}, 12),
    "not chained": chained(lambda ref: {"not": ref, "allOf": [ref]}, 12),
    "dependentSchemas chained": chained(lambda ref: {"dependentSchemas": {"k": ref, "l": ref}}, 12),
    "unevaluated nested": chained(lambda r: {"allOf": [r], "unevaluatedProperties": False}, 10),
    "200 references in a row": chained(lambda ref: ref, 200),
    "300 references": of({"allOf": [{"$ref": "#/$defs/a"}] * 300}, **{"$defs": {"a": {}}}),
    "an enum of 5,000 objects": of({"enum": [{"a": n} for n in range(4000)]}),
    "divisions by next to nothing": of({"items": {"multipleOf": 1e-300}}),
    "10,000 levels": deep(10_000),
    "a schema in itself": endless(),
    "70 KB": of({"description": "x" * 70_000}),
    "a reference to the network": of({"$ref": "http://169.254.169.254/latest"}),
    "a reference to a file": of({"$ref": "file:///etc/passwd"}),
    "a reference to itself": {"type": "object", "allOf": [{"$ref": "#"}] * 200},
    "references in a circle": of(
        {"$ref": "#/$defs/a"},
        **{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}},
    ),
    "a reference to nothing": of({"$ref": "#/$defs/a"}),
    "a dynamic reference": of({"$dynamicRef": "#a"}),
    "an id within": of({"$id": "http://x.example/", "$ref": "#/$defs/a"}),
    "no type of JSON's": of({"type": "strin"}),
    "several types": {"type": ["object", "null"]},
    "a number without an end": of({"maximum": 10**5000}),
    "no number": of({"maximum": float("nan")}),
    "no JSON": of({"const": object()}),
    "lists as names": {"type": "object", ("a",): 1},
}


@pytest.mark.parametrize("schema", BOMBS.values(), ids=BOMBS.keys())
def test_a_schema_beyond_its_bounds_is_refused_at_once(schema: dict[str, Any]) -> None:
    started = process_time()
    with pytest.raises(InvalidRequestError) as caught:
        response_format(schema).ready()
    assert process_time() - started < SECONDS_AT_MOST
    assert caught.value.code == "invalid_response_format"


EXPRESSION = {
    "anyOf": [
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/E"}}},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/E"}}},
        {"type": "integer"},
    ]
}
RECURSIVE = of({"$ref": "#/$defs/E"}, **{"$defs": {"E": EXPRESSION}})
MISSED = {
    "alternatives that go on for ever": (RECURSIVE, '{"a":' * 190 + '"x"' + "}" * 190),
    "an expression that backtracks": (
        of({"pattern": "^(a+)+$"}),
        json.dumps({"a": "a" * 900 + "!"}),
    ),
    "a fence without an end": (of({}), "```json" + "\n" * 400_000 + "x"),
    "an answer without an end": (of({}), "[" * 200_000),
    "an answer of a megabyte": (of({}), json.dumps({"a": "x" * 1024 * 1024})),
    "a number without an end": (of({"type": "string"}), '{"a": ' + "9" * 4000 + "}"),
}


@pytest.mark.parametrize(("schema", "answer"), MISSED.values(), ids=MISSED.keys())
def test_an_answer_that_misses_its_schema_is_told_so_at_once(
    schema: dict[str, Any], answer: str
) -> None:
    wanted = response_format(schema)
    started = process_time()
    with pytest.raises(ProtocolError) as caught:
        parse_structured(answer, wanted)
    assert process_time() - started < SECONDS_AT_MOST
    assert caught.value.code == "response_format_mismatch"
    assert len(caught.value.message) < 1000


async def longest_stall(waited_for: asyncio.Task[Any]) -> float:
    """The longest time for which the event loop did nothing else while a task ran."""
    longest, last = 0.0, process_time()
    while not waited_for.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, process_time() - last), process_time()
    return longest


async def test_what_takes_long_is_judged_apart_and_given_up() -> None:
    wanted = response_format(of({"pattern": SLOW}))
    answer = AnswerText(json.dumps({"a": "ab" * 100_000}))
    task = asyncio.create_task(parsed(answer, wanted))
    assert await longest_stall(task) < SECONDS_AT_MOST
    with pytest.raises(ProtocolError, match="does not follow"):
        task.result()


async def test_a_large_answer_is_judged_apart_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.foundry.judging.PROCESS_SECONDS", 60)  # however slow the machine
    items = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    wanted = response_format(of(items))
    assert await parsed(AnswerText(json.dumps({"a": [1] * 90_000})), wanted) == {"a": [1] * 90_000}
    with pytest.raises(ProtocolError, match=r"a\.89999: the value is less than the minimum of 0"):
        await parsed(AnswerText(json.dumps({"a": [*[1] * 89_999, -1]})), wanted)


def test_usual_schemas_are_light() -> None:
    names = {f"p{n}": {"anyOf": [{"type": "string"}, {"type": "null"}]} for n in range(100)}
    schema = Schema.of({"type": "object", "properties": names, "required": [*names]})
    assert schema.is_light_for(json.dumps(dict.fromkeys(names, "some text")))


def test_equal_schemas_are_compiled_once_and_few_are_remembered() -> None:
    judging._compiled.cache_clear()
    for number in range(CACHED_SCHEMAS + 10):
        for schema in (
            {"type": "object", "title": f"t{number}"},
            {"title": f"t{number}", "type": "object"},
        ):
            response_format(schema).ready()
    info = judging._compiled.cache_info()
    assert (info.misses, info.hits) == (CACHED_SCHEMAS + 10, CACHED_SCHEMAS + 10)
    assert info.currsize == CACHED_SCHEMAS


def test_a_schema_is_sent_as_it_was_given_and_cannot_change_later() -> None:
    schema = of({"title": "half \ud83d"}, required=["a"])
    wanted = response_format(schema)
    schema["properties"]["a"] = {"type": "integer"}
    sent = wanted.to_json()["schema"]
    assert list(sent) == ["type", "properties", "required"]
    assert sent["properties"] == {"a": {"title": "half ?"}}


def fences() -> Iterator[tuple[str, str]]:
    for mark in ("```json", "```", "```JSON", "  ```json  "):
        yield f"{mark}\n{{}}\n```", "{}"
        yield f"\n{mark}\r\n{{}}\r\n```\n\n", "{}"
    for text in ("{}", "```json\n{}", "```python\n{}\n```", "```json {}```", "```", "", "\n```\n"):
        yield text, text.strip()


@pytest.mark.parametrize(("text", "inside"), list(fences()))
def test_a_fence_is_taken_off(text: str, inside: str) -> None:
    assert unfenced(text).strip() == inside
