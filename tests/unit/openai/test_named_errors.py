"""Errors name the field as the request has it, in `param` and in the message."""

from __future__ import annotations

from typing import Any

import pytest

from shared.app import Services
from shared.openai.items import InputItem, read_items
from tests.support.app_on_fakes import App
from tests.support.calling import caller

LONG = "x" * (256 * 1024 + 1)
SAY = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("path", "body", "param", "ours"),
    [
        (
            "chat/completions",
            {"messages": [{"role": "system", "content": LONG}, SAY]},
            "messages",
            "system_prompt",
        ),
        ("responses", {"input": "Hi", "instructions": LONG}, "instructions", "system_prompt"),
    ],
)
async def test_an_option_has_the_name_of_the_request(
    services: Services, path: str, body: dict[str, Any], param: str, ours: str
) -> None:
    async with caller(services) as api:
        answer = await api.post(f"v1/{path}", json={"model": "llama-3.3-70b", **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert ours not in error["message"]


async def test_an_item_of_a_conversation_is_in_items(project: tuple[App, Services]) -> None:
    async with caller(project[1]) as api:
        conversation = (await api.post("v1/conversations", json={})).json()["id"]
        address = f"v1/conversations/{conversation}/items"
        items = [{"type": "message", "role": "user", "content": ""}]
        refused = await api.post(address, json={"items": items})
        assert refused.json()["error"]["param"] == "items[0].content"


def test_an_item_that_is_left_out_is_named_with_its_field() -> None:
    items = [InputItem(type="reasoning")]
    assert read_items(items).ignored == ["input.reasoning"]
    assert read_items(items, "items").ignored == ["items.reasoning"]
