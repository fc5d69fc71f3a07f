"""Tool calls, images and structured answers against the emulator."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from shared.foundry.content import image_part, user_message
from shared.foundry.error_bodies import error_from_response
from shared.foundry.structured import parse_structured, read_answer, response_format
from shared.foundry.tools import Toolbox, function_calls, tool, tools_refused

from .conftest import text_of, turn

PNG = b"\x89PNG\r\n\x1a\n"


@tool
async def order_status(order_id: int) -> dict[str, str]:
    """Tell where an order is."""
    return {"order": str(order_id), "status": "shipped"}


@tool
def explode() -> str:
    """Fail."""
    raise RuntimeError


class Town(BaseModel):
    name: str
    people: int
    tags: list[str] = []


async def test_a_turn_with_calls_that_succeed_and_fail_is_finished(
    raw: httpx.AsyncClient, conversation: str
) -> None:
    box = Toolbox([order_status, explode])
    offered: dict[str, Any] = {
        "tools": box.definitions(["order_status", "explode", "data_analysis"]),
        "conversation": conversation,
    }
    said = '/call order_status {"order_id": 7}\n/call order_status {"id": 7}\n/call explode'
    asked = (await raw.post("responses", json=turn(said, **offered))).raise_for_status().json()
    outputs = await box.run(function_calls(asked["output"]))
    assert [output.succeeded for output in outputs] == [True, False, False]
    body = {**turn("", **offered), "input": [output.to_item() for output in outputs]}
    answer = text_of((await raw.post("responses", json=body)).raise_for_status().json())
    assert 'order_status answered: {"order":"7","status":"shipped"}' in answer
    assert "order_status answered: The arguments are wrong: " in answer
    assert "explode answered: The tool failed (RuntimeError)." in answer


@pytest.mark.parametrize("name", ["order_status", "data_analysis"])
async def test_a_model_without_tools_is_recognised(raw: httpx.AsyncClient, name: str) -> None:
    tools = Toolbox([order_status]).definitions([name])
    refused = await raw.post("responses", json=turn("hi", model="no-tools", tools=tools))
    error = error_from_response(refused.status_code, refused.headers, refused.content, "r")
    found = tools_refused(error, "no-tools")
    assert found is not None
    assert (found.code, found.status_code) == ("tools_not_supported", 400)
    assert "'no-tools'" in found.message


async def test_a_structured_answer_is_asked_for_and_read(raw: httpx.AsyncClient) -> None:
    wanted = response_format(Town)
    body = turn("Describe a town.", text={"format": wanted.to_json()})
    answer = (await raw.post("responses", json=body)).raise_for_status().json()
    assert isinstance(parse_structured(read_answer(answer["output"]), wanted), Town)


async def test_a_refusal_is_read_as_one(raw: httpx.AsyncClient) -> None:
    answer = (await raw.post("responses", json=turn("/refuse"))).raise_for_status().json()
    assert read_answer(answer["output"]).refusal == "I cannot help with that."


async def test_an_image_is_taken_by_a_model_that_sees(raw: httpx.AsyncClient) -> None:
    body = {"model": "gpt-4.1", "input": [user_message("What is it?", [image_part(PNG)])]}
    answer = (await raw.post("responses", json=body)).raise_for_status().json()
    assert answer["status"] == "completed"
