"""MCP approvals: nothing happens without a yes, and every request is answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from shared.foundry.errors import ProtocolError
from shared.foundry.tools import answer_approvals

DEADLINE_SECONDS = 10


def request(name: str = "search", arguments: str = '{"q": "x"}', **more: Any) -> dict[str, Any]:
    return {
        "type": "mcp_approval_request",
        "id": f"mcpr_{name}",
        "server_label": "docs",
        "name": name,
        "arguments": arguments,
        **more,
    }


async def test_denied_by_default() -> None:
    message: dict[str, Any] = {"type": "message", "content": []}
    assert await answer_approvals([message, request()]) == [
        {
            "type": "mcp_approval_response",
            "approval_request_id": "mcpr_search",
            "approve": False,
            "reason": "The call was not approved.",
        }
    ]
    assert await answer_approvals([message]) == []


async def test_the_callback_decides_each_with_all_it_needs() -> None:
    asked: list[tuple[str, str, dict[str, Any]]] = []

    async def only_search(server_label: str, name: str, arguments: dict[str, Any]) -> bool:
        asked.append((server_label, name, arguments))
        return name == "search"

    answers = await answer_approvals([request(), request("delete", "")], only_search)
    assert [answer["approve"] for answer in answers] == [True, False]
    assert "reason" not in answers[0]
    assert asked == [("docs", "search", {"q": "x"}), ("docs", "delete", {})]


@pytest.mark.parametrize("arguments", ["{", "[1]", "null"])
async def test_arguments_that_cannot_be_read_are_denied(arguments: str) -> None:
    async def yes(*_: Any) -> bool:
        return True

    (answer,) = await answer_approvals([request(arguments=arguments)], yes)
    assert answer["approve"] is False


async def test_a_callback_that_fails_or_answers_something_else_denies(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(_server: str, name: str, _arguments: dict[str, Any]) -> Any:
        if name == "raise":
            raise RuntimeError("no")
        return json.dumps(True)

    answers = await answer_approvals([request("raise"), request("text")], broken)
    assert [answer["approve"] for answer in answers] == [False, False]
    assert "callback failed" in caplog.text


async def test_what_is_not_decided_in_time_is_denied() -> None:
    async def slow(_server: str, name: str, _arguments: dict[str, Any]) -> bool:
        if name == "slow":
            await asyncio.Event().wait()
        return True

    answers = await answer_approvals([request("fast"), request("slow")], slow, seconds=0.05)
    assert [answer["approve"] for answer in answers] == [True, False]


async def test_a_cancelled_wait_stops_the_callback_and_goes_on_being_cancelled() -> None:
    asked, stopped = asyncio.Event(), asyncio.Event()

    async def slow(_server: str, _name: str, _arguments: dict[str, Any]) -> bool:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return True

    waiting = asyncio.create_task(answer_approvals([request()], slow))
    await asyncio.wait_for(asked.wait(), DEADLINE_SECONDS)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert stopped.is_set()


async def test_a_request_without_an_id_is_a_broken_protocol() -> None:
    with pytest.raises(ProtocolError, match="without its id"):
        await answer_approvals([request(id=None)])
