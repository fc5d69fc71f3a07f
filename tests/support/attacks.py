"""Schemas, and answers to judge by them, that are made to take time and memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

SLOW_PATTERN = "[ab]{0,500}[^a][ab]{0,500}c"
LETTERS = "ab" * 50_000


@dataclass(frozen=True)
class Attack:
    """A response format, and what the model is made to answer."""

    schema: Schema | str
    """As JSON text where Python cannot write it."""
    answer: Any = '{"a":1}'

    @property
    def body(self) -> bytes:
        """The body of a message."""
        text = self.answer if isinstance(self.answer, str) else compact({"a": self.answer})
        schema = self.schema if isinstance(self.schema, str) else compact(self.schema)
        return f'{{"message":{compact(f"/answer {text}")},"response_format":{schema}}}'.encode()


def compact(value: Any) -> str:
    """JSON without a blank, which the scripted model would take for the end of a word."""
    return json.dumps(value, separators=(",", ":"))


def with_a(schema: Schema, **more: Any) -> Schema:
    """An object with one property."""
    return {"type": "object", "properties": {"a": schema}, **more}


def patterns(count: int, pattern: str) -> Schema:
    """As many patterns as numbers fit into one, each another."""
    named = {pattern.format(size=n % 60 + 1, number=n): {} for n in range(count)}
    return {"type": "object", "patternProperties": named}


def chained(count: int, keywords: tuple[str, ...], *, wrapped: bool = False) -> Schema:
    """Each link refers twice or more to the one before."""
    links: dict[str, Schema] = {"n0": {"type": "integer"}}
    for number in range(1, count):
        before = {"$ref": f"#/$defs/n{number - 1}"}
        twice: Any = {"k": before, "l": before} if wrapped else [before] * 2
        is_one = len(keywords) > 1
        links[f"n{number}"] = dict.fromkeys(keywords, before if is_one else twice)
    return with_a({"$ref": f"#/$defs/n{count - 1}"}, **{"$defs": links}, required=["a"])


def in_a_row(count: int) -> Schema:
    """References that end only at the last."""
    links: dict[str, Schema] = {
        f"n{n}": {"anyOf": [{"$ref": f"#/$defs/n{n + 1}"}, {"type": "null"}]} for n in range(count)
    }
    return with_a({"$ref": "#/$defs/n0"}, **{"$defs": {**links, f"n{count}": {}}})


def recursive() -> Schema:
    """Two equal alternatives at each depth of the answer."""
    deeper = {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/E"}}}
    return with_a(
        {"$ref": "#/$defs/E"}, **{"$defs": {"E": {"anyOf": [deeper, deeper, {"type": "integer"}]}}}
    )


def unevaluated(depth: int) -> Schema:
    """Each depth asks anew what all below it have looked at."""
    schema: Schema = {"properties": {"a": True}}
    for _ in range(depth):
        schema = {"allOf": [schema], "unevaluatedProperties": False}
    return with_a(schema)


def nested(depth: int) -> str:
    """An object in an object, and so on."""
    return '{"a":' * depth + '"x"' + "}" * depth


def deep(depth: int) -> str:
    """A schema in a schema, and so on."""
    return '{"type":"object","properties":{"a":' * depth + "{}" + "}}" * depth


def slow(*limits: int) -> Schema:
    """Patterns that are slow on long texts, though in linear time."""
    return {"allOf": [{"pattern": f"[ab]{{0,{n}}}[^a][ab]{{0,{n}}}c"} for n in limits]}


CONTAINS = [{"contains": {"const": number}} for number in range(500)]
CYCLE: dict[str, Schema] = {
    "a": {"$ref": "#/$defs/b", "type": "object"},
    "b": {"$ref": "#/$defs/a"},
}

ATTACKS = {
    "1,000 patterns": Attack(patterns(1000, "^\\p{{L}}{{{size}}}.{{{number}}}$")),
    "3,500 patterns": Attack(patterns(3500, "^\\p{{L}}{{1,{size}}}{number}$")),
    "18 anyOf of two": Attack(chained(18, ("anyOf",)), '{"a":"x"}'),
    "18 oneOf of two": Attack(chained(18, ("oneOf",)), '{"a":"x"}'),
    "26 allOf of two": Attack(chained(26, ("allOf",))),
    "30 if, then and else": Attack(chained(30, ("if", "then", "else"))),
    "26 dependentSchemas": Attack(
        chained(26, ("dependentSchemas",), wrapped=True), {"k": 1, "l": 1}
    ),
    "26 anyOf of two": Attack(chained(26, ("anyOf",)), '{"a":"x"}'),
    "recursion, 20 deep": Attack(recursive(), nested(20)),
    "recursion, 190 deep": Attack(recursive(), nested(190)),
    "a cycle": Attack({"type": "object", "$ref": "#/$defs/a", "$defs": CYCLE}),
    "references to the root": Attack({"type": "object", "allOf": [{"$ref": "#"}] * 200}),
    "200 references in a row": Attack(in_a_row(199)),
    "an enum of 4,900 objects": Attack(
        with_a({"type": "array", "items": {"enum": [{"a": n} for n in range(4900)]}}),
        [{"a": 4899}] * 1000,
    ),
    "a pattern of a million": Attack(with_a({"pattern": "a{1000}{1000}"}), '{"a":"a"}'),
    "a pattern that backtracks": Attack(
        with_a({"pattern": "^(a+)+$"}), compact({"a": "a" * 100_000 + "!"})
    ),
    "a slow pattern": Attack(with_a(slow(500)), compact({"a": LETTERS})),
    "20 slow patterns": Attack(with_a(slow(*range(380, 400))), compact({"a": LETTERS})),
    "a tiny multipleOf": Attack(
        with_a({"type": "array", "items": {"multipleOf": 1e-300}}), [1e300] * 100_000
    ),
    "25 unevaluatedProperties": Attack(unevaluated(25), {"a": 1}),
    "unevaluatedItems": Attack(
        with_a({"type": "array", "allOf": CONTAINS, "unevaluatedItems": False}), list(range(5000))
    ),
    "500 contains": Attack(with_a({"type": "array", "allOf": CONTAINS}), [9999] * 50_000),
    "100,000 unique items": Attack(
        with_a({"type": "array", "uniqueItems": True}), list(range(100_000))
    ),
    "slow names": Attack(
        with_a({"type": "object", "propertyNames": {"pattern": SLOW_PATTERN}}),
        {"ab" * 30 + str(n): 1 for n in range(5000)},
    ),
    "a schema 10,000 deep": Attack(deep(10_000), "{}"),
    "a schema 90 deep": Attack(deep(90), "{}"),
    "numbers of 400 digits": Attack(
        with_a({"maximum": 10**400, "multipleOf": 10**400}), '{"a":1' + "0" * 401 + "}"
    ),
    "a fence of 4,000 lines": Attack({"type": "object"}, "```json" + "\n" * 4_000 + "x"),
    "a fence of 400,000 lines": Attack({"type": "object"}, "```json" + "\n" * 400_000 + "x"),
    "an answer 200,000 deep": Attack({"type": "object"}, "[" * 200_000),
}
