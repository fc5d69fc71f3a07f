"""One message that stands alone, and what every answer carries."""

import re

import httpx
import pytest

from tests.support.served import Deployment, EmulatorControl


async def test_a_message_is_answered_and_recorded(
    caller: httpx.AsyncClient, deployment: Deployment
) -> None:
    body = {"message": "Hello there", "domain": "greetings", "metadata": {"case": "7"}}
    answer = await caller.post("messages", json=body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    turn = answer.json()
    assert turn["content"] == "You said: Hello there"
    assert (turn["success"], turn["error"], turn["finish_reason"]) == (True, None, "stop")
    assert (turn["thread_id"], turn["tools_used"]) == (None, [])
    usage = turn["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]

    key = f"turn:-:{turn['turn_id'].removeprefix('turn_')}"
    (row,) = await deployment.rows(kind=key)
    assert (row["question"], row["answer"]) == ("Hello there", "You said: Hello there")
    assert (row["status"], row["mode"], row["domain"]) == ("succeeded", "sync", "greetings")
    assert (row["model"], row["response_id"]) == (turn["model"], turn["metadata"]["response_id"])
    assert row["total_tokens"].value == usage["total_tokens"]


async def test_options_of_a_message_reach_the_model(
    caller: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    body = {
        "message": "/words 50",
        "system_prompt": "Be brief.",
        "model": "llama-3.3-70b",
        "temperature": 0.1,
        "max_tokens": 20,
        "top_p": 0.5,
    }
    turn = (await caller.post("messages", json=body)).json()
    assert turn["finish_reason"] == "length"
    assert len(turn["content"].split()) == 20
    sent = (await emulator.asked_for("/words 50"))[-1]["body"]
    assert (sent["instructions"], sent["temperature"], sent["top_p"]) == ("Be brief.", 0.1, 0.5)


async def test_a_message_that_the_filter_stops_is_a_422_and_recorded_as_failed(
    caller: httpx.AsyncClient, deployment: Deployment
) -> None:
    answer = await caller.post("messages", json={"message": "[[content_filter]] marked"})
    assert (answer.status_code, answer.json()["code"]) == (422, "content_filter")
    failed = [row for row in await deployment.rows(kind="turn:-:") if row["status"] == "failed"]
    assert [r["error_code"] for r in failed if r["question"] == "[[content_filter]] marked"] == [
        "content_filter"
    ]


async def test_a_throttled_message_says_how_long_to_wait(
    caller: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    await emulator.inject("status", status=429, headers={"Retry-After": "2"}, times=None)
    answer = await caller.post("messages", json={"message": "Hi"})
    problem = answer.json()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    assert (problem["code"], problem["retry_after"]) == ("rate_limited", 2)


@pytest.mark.parametrize("given", ["abc-123", "0af7651916cd43dd8448eb211c80319c", "a" * 128])
async def test_a_sane_request_id_is_echoed(caller: httpx.AsyncClient, given: str) -> None:
    answer = await caller.get("threads/thread_none", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given
    assert answer.json()["request_id"] == given


@pytest.mark.parametrize("given", ["", "with space", "a" * 129, "<script>", "{}"])
async def test_any_other_request_id_is_replaced(caller: httpx.AsyncClient, given: str) -> None:
    answer = await caller.get("threads/thread_none", headers={"x-request-id": given})
    made = answer.headers["x-request-id"]
    assert re.fullmatch(r"req_[0-9A-Z]{26}", made)
    assert answer.json()["request_id"] == made


async def test_every_answer_tells_the_time_that_the_app_added(
    caller: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    await emulator.inject("hang", seconds=0.5)
    slow = await caller.post("messages", json={"message": "Hi"})
    waited = slow.elapsed.total_seconds() - 0.5
    assert 0 <= float(slow.headers["x-overhead-ms"]) <= waited * 1000
    for answer in (await caller.get("health"), await caller.get("nowhere")):
        assert float(answer.headers["x-overhead-ms"]) >= 0


async def test_health_and_metrics(caller: httpx.AsyncClient) -> None:
    health = await caller.get("health")
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    before = (await caller.get("metrics")).json()
    await caller.post("messages", json={"message": "count me"})
    after = (await caller.get("metrics")).json()
    assert after["total_requests"] == before["total_requests"] + 1
    assert after["total_tokens_used"] > before["total_tokens_used"]
    assert after["average_latency"] > 0
