"""Custom tools: what the model is told of a function, and which functions cannot be tools."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from shared.foundry.tools import CustomTool, tool


class Place(BaseModel):
    city: str
    country: str = "NL"


@tool
async def forecast(
    place: Place, days: int = 3, unit: Literal["c", "f"] = "c", start: date | None = None
) -> str:
    """Forecast the weather.

    Uses the national service.

    Args:
        place: Where.
        days: How many days,
            at most ten.
        unit: Celsius or Fahrenheit.
        start: First day; today if not given.

    Returns:
        One line per day.
    """
    return f"{place.city} {days} {unit} {start}"


@tool(name="sum-up", timeout=5)
def add(a: int, b: Annotated[int, Field(description="The second number.", ge=0)]) -> int:
    """Add two numbers."""
    return a + b


def test_the_model_is_told_what_the_docstring_and_the_hints_say() -> None:
    definition = forecast.definition()
    assert definition["type"] == "function"
    assert definition["name"] == "forecast"
    assert definition["description"] == "Forecast the weather.\n\nUses the national service."
    parameters = definition["parameters"]
    assert parameters["required"] == ["place"]
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["place"]["description"] == "Where."
    assert parameters["properties"]["days"] == {
        "default": 3,
        "type": "integer",
        "description": "How many days, at most ten.",
    }
    assert parameters["properties"]["unit"]["enum"] == ["c", "f"]


def test_name_timeout_and_field_descriptions_can_be_given() -> None:
    assert (add.name, add.timeout, forecast.timeout) == ("sum-up", 5, None)
    second = add.definition()["parameters"]["properties"]["b"]
    assert (second["description"], second["minimum"]) == ("The second number.", 0)


async def test_a_tool_is_still_the_function_it_was() -> None:
    assert add(2, 3) == 5
    assert await forecast(Place(city="Delft"), unit="f") == "Delft 3 f None"
    assert add.__doc__ == "Add two numbers."


async def test_arguments_become_what_the_hints_say() -> None:
    bound = forecast.bind('{"place": {"city": "Delft"}, "days": 2, "start": "2026-01-02"}')
    assert await bound() == "Delft 2 c 2026-01-02"


def test_a_tool_without_parameters_takes_empty_arguments() -> None:
    @tool
    def ping() -> str:
        """Say pong."""
        return "pong"

    assert ping.bind("")() == ping.bind("{}")() == "pong"
    assert ping.definition()["parameters"]["properties"] == {}


@pytest.mark.parametrize(
    "arguments", ["{", "[]", "null", "{}", '{"a": "x", "b": 1}', '{"a": 1, "b": 1, "c": 1}']
)
def test_wrong_arguments_are_found(arguments: str) -> None:
    with pytest.raises(ValidationError):
        add.bind(arguments)


def undocumented(a: int) -> int:
    return a


def unhinted(a: int) -> int:
    """Do something."""
    return a


del unhinted.__annotations__["a"]


def spread(*numbers: int) -> int:
    """Add numbers."""
    return sum(numbers)


def positional(a: int, /) -> int:
    """Give it back."""
    return a


class Opaque:
    pass


def opaque(a: Opaque) -> str:
    """Take what JSON cannot say."""
    return str(a)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (undocumented, "no docstring"),
        (unhinted, "'a' has no type hint"),
        (spread, "cannot name the parameter '\\*numbers"),
        (positional, "cannot name the parameter 'a"),
        (opaque, "Opaque"),
    ],
)
def test_a_function_that_cannot_be_a_tool_says_why(function: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        tool(function)


def test_a_name_no_model_can_call_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot name a tool"):
        CustomTool(positional, name="no spaces")
