"""Structured answers: the format that is asked for, and what an answer is read as."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from shared.foundry.errors import InvalidRequestError, ProtocolError
from shared.foundry.structured import (
    AnswerText,
    ResponseFormat,
    parse_structured,
    read_answer,
    response_format,
)


class Step(BaseModel):
    text: str
    seconds: int = 0


class Recipe(BaseModel):
    title: str
    kind: Literal["soup", "cake"] = "soup"
    steps: list[Step]
    first: Step | None = Field(default=None, description="The first step.")


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Prices(BaseModel):
    euros: dict[str, float]


CITY: dict[str, Any] = {
    "title": "A city!",
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "people": {"type": "integer"}},
    "required": ["name"],
}


def test_a_model_is_sent_as_strict_mode_wants_it() -> None:
    sent = response_format(Recipe).to_json()
    assert (sent["type"], sent["name"], sent["strict"]) == ("json_schema", "Recipe", True)
    schema = sent["schema"]
    assert schema["required"] == ["title", "kind", "steps", "first"]
    assert schema["additionalProperties"] is False
    step = schema["$defs"]["Step"]
    assert (step["required"], step["additionalProperties"]) == (["text", "seconds"], False)
    assert "default" not in step["properties"]["seconds"]


def test_a_recursive_model_has_an_object_at_its_root() -> None:
    schema = response_format(Tree).to_json()["schema"]
    assert schema["type"] == "object"
    assert schema["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


def test_a_model_that_strict_mode_cannot_say_is_sent_as_it_is() -> None:
    sent = response_format(Prices)
    assert not sent.strict
    assert sent.schema == Prices.model_json_schema()


def test_a_model_answer_is_an_instance() -> None:
    text = '{"title": "Pea", "steps": [{"text": "boil"}]}'
    recipe = parse_structured(text, response_format(Recipe))
    assert recipe == Recipe(title="Pea", steps=[Step(text="boil")])
    fenced = f"```json\n{text}\n```\n"
    assert parse_structured(fenced, response_format(Recipe)) == recipe


@pytest.mark.parametrize(
    ("wanted", "name", "strict"),
    [
        (CITY, "A_city", False),
        ({"type": "json_schema", "name": "town", "schema": CITY}, "town", False),
        ({"type": "json_schema", "name": "town", "schema": CITY, "strict": True}, "town", True),
        (
            {"type": "json_schema", "json_schema": {"name": "t", "schema": CITY, "strict": True}},
            "t",
            True,
        ),
        ({key: CITY[key] for key in CITY if key != "title"}, "answer", False),
    ],
)
def test_a_schema_may_be_wrapped(wanted: dict[str, Any], name: str, strict: bool) -> None:
    format_ = response_format(wanted)
    assert (format_.name, format_.strict) == (name, strict)
    assert format_.schema["properties"] == CITY["properties"]
    assert parse_structured('{"name": "Delft"}', format_) == {"name": "Delft"}


def test_a_name_can_be_given() -> None:
    assert response_format(CITY, name="city-1").name == "city-1"
    with pytest.raises(InvalidRequestError, match="its name must be"):
        response_format(Recipe, name="no spaces")


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({}, "must be of type 'object'"),
        ({"type": ["object", "null"]}, "must be of type 'object'"),
        ({"type": "array", "items": {}}, "must be of type 'object'"),
        ({"type": "json_object"}, "'json_object' describes no object"),
        ({"type": "json_schema", "name": "x"}, "'schema' is missing"),
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, "properties.a.type"),
        (
            {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1/x"}}},
            "itself",
        ),
        ({"type": "object", "properties": {"a": {"pattern": "(?=x)"}}}, "regex"),
    ],
)
def test_a_format_that_cannot_be_used_says_why(wanted: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason) as caught:
        response_format(wanted).ready()
    assert caught.value.code == "invalid_response_format"


@pytest.mark.parametrize(
    ("format_", "text", "reason"),
    [
        (response_format(Recipe), '{"title": 3, "steps": []}', "title: Input should be a valid"),
        (response_format(Recipe), '{"title": "x"}', "steps: Field required"),
        (response_format(Recipe), "Here you go:", "Invalid JSON"),
        (response_format(CITY), '{"name": "De', "not JSON .* cut short"),
        (response_format(CITY), '{"name": 3}', "name: the value is not of type"),
        (response_format(CITY), "{}", '"name" is a required property'),
    ],
)
def test_an_answer_that_does_not_fit_says_why(
    format_: ResponseFormat[Any], text: str, reason: str
) -> None:
    with pytest.raises(ProtocolError, match=reason) as caught:
        parse_structured(text, format_)
    assert caught.value.code == "response_format_mismatch"


def test_what_the_model_said_is_not_in_the_error() -> None:
    for wanted in (response_format(Recipe), response_format(CITY)):
        with pytest.raises(ProtocolError) as caught:
            parse_structured('{"title": ["secret"], "name": ["secret"]}', wanted)
        assert "secret" not in caught.value.message


def test_a_strangers_regex_cannot_stall_the_process() -> None:
    evil = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    with pytest.raises(ProtocolError, match="a: the value does not match"):
        parse_structured(f'{{"a": "{"a" * 5000}!"}}', response_format(evil))


def test_a_refusal_is_told_apart() -> None:
    items: list[dict[str, Any]] = [
        {"type": "reasoning", "summary": []},
        {"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]},
    ]
    answer = read_answer(items)
    assert answer == AnswerText("", "I cannot.")
    with pytest.raises(InvalidRequestError, match="I cannot") as caught:
        parse_structured(answer, response_format(Recipe))
    assert caught.value.code == "refused"


def test_the_text_of_all_messages_is_the_answer() -> None:
    items: list[dict[str, Any]] = [
        {"type": "message", "content": [{"type": "output_text", "text": "a"}]},
        {"type": "function_call", "name": "x"},
        {"type": "message", "content": [{"type": "output_text", "text": "b"}]},
    ]
    assert read_answer(items) == AnswerText("ab")
