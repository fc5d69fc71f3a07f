"""`Idempotency-Key`: one effect and one answer, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from shared.app import Services
from shared.state.idempotency import HOLD_SECONDS
from tests.support.app_on_fakes import App
from tests.support.calling import assert_problem, caller

KEY = {"Idempotency-Key": "order-17"}
PARTITION = "key"
EVENTS = {"Accept": "text/event-stream"}


def events(answer: httpx.Response) -> list[tuple[str, Any]]:
    """The events of a stream, comments aside."""
    frames = [frame for frame in answer.text.split("\n\n") if frame.startswith("event: ")]
    pairs = [frame.removeprefix("event: ").split("\ndata: ", 1) for frame in frames]
    return [(name, json.loads(data)) for name, data in pairs]


def key_rows(app: App) -> list[str]:
    return [row.row_key for row in app.table.rows(PARTITION, "idem:")]


async def new_thread(api: httpx.AsyncClient) -> str:
    return (await api.post("threads", json={})).json()["thread_id"]


async def test_a_repeated_message_has_one_effect_and_the_same_answer(
    app: App, api: httpx.AsyncClient
) -> None:
    first = await api.post("messages", json={"message": "Hi"}, headers=KEY)
    again = await api.post("messages", json={"message": "Hi", "domain": "general"}, headers=KEY)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert app.foundry.messages == ["Hi"]


async def test_a_key_costs_one_transaction_and_none_without(
    app: App, api: httpx.AsyncClient
) -> None:
    thread_id = await new_thread(api)
    for url, plain in (("messages", 1), (f"threads/{thread_id}/messages", 2)):
        app.table.reset_counts()
        await api.post(url, json={"message": "Hi"})
        assert app.table.transactions == plain
        app.table.reset_counts()
        await api.post(url, json={"message": "Hi"}, headers={"Idempotency-Key": url})
        assert app.table.transactions == plain + 1


async def test_a_key_belongs_to_one_request(api: httpx.AsyncClient) -> None:
    await api.post("messages", json={"message": "Hi"}, headers=KEY)
    other_body = await api.post("messages", json={"message": "Ho"}, headers=KEY)
    assert_problem(other_body, 422, "idempotency_mismatch")
    other_path = await api.post("jobs", json={"message": "Hi"}, headers=KEY)
    assert_problem(other_path, 422, "idempotency_mismatch")


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_has_1_to_255_characters(app: App, api: httpx.AsyncClient, key: str) -> None:
    refused = await api.post("messages", json={"message": "Hi"}, headers={"Idempotency-Key": key})
    assert_problem(refused, 422, "invalid_request")
    assert app.foundry.messages == []


async def test_a_request_that_still_runs_is_refused(app: App, api: httpx.AsyncClient) -> None:
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(api.post("messages", json={"message": "Hi"}, headers=KEY))
        await arrived.wait()
        refused = await api.post("messages", json={"message": "Hi"}, headers=KEY)
        assert_problem(refused, 409, "idempotency_in_progress")
        assert refused.headers["retry-after"] == "2"
        release.set()
    replay = await api.post("messages", json={"message": "Hi"}, headers=KEY)
    assert replay.content == first.result().content


async def test_a_thread_is_made_once(app: App, api: httpx.AsyncClient) -> None:
    body = {"metadata": {"ticket": "9"}}
    first = await api.post("threads", json=body, headers=KEY)
    again = await api.post("threads", json=body, headers=KEY)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert len(app.table.rows(PARTITION, "thread:")) == 1


async def test_a_job_is_submitted_and_cancelled_once(app: App, api: httpx.AsyncClient) -> None:
    body = {"messages": ["one", "two"]}
    first = await api.post("jobs", json=body, headers=KEY)
    again = await api.post("jobs", json=body, headers=KEY)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert len(app.table.rows(PARTITION, "job:")) == 1
    cancel, key = f"jobs/{first.json()['job_id']}/cancel", {"Idempotency-Key": "c"}
    done = await api.post(cancel, headers=key)
    assert (done.status_code, done.json()["cancel_requested"]) == (202, True)
    assert (await api.post(cancel, headers=key)).content == done.content


@pytest.mark.parametrize("first_streamed", [False, True])
async def test_a_replay_is_streamed_to_whoever_wants_events(
    app: App, api: httpx.AsyncClient, first_streamed: bool
) -> None:
    url = f"threads/{await new_thread(api)}/messages"
    first = await api.post(
        url, json={"message": "Hi"}, headers=KEY | (EVENTS if first_streamed else {})
    )
    turn = events(first)[-1][1] if first_streamed else first.json()
    replay = await api.post(url, json={"message": "Hi"}, headers=KEY | EVENTS)
    assert replay.headers["idempotency-replayed"] == "true"
    started = {"turn_id": turn["turn_id"], "thread_id": turn["thread_id"]}
    assert events(replay) == [("turn.started", started), ("turn.completed", turn)]
    assert (await api.post(url, json={"message": "Hi"}, headers=KEY)).json() == turn
    assert len(app.foundry.sent) == 1


async def test_a_failure_that_may_pass_leaves_the_key_free(
    app: App, api: httpx.AsyncClient
) -> None:
    app.foundry.then_fail(503)
    failed = await api.post("messages", json={"message": "Hi"}, headers=KEY)
    assert_problem(failed, 503, "service_unavailable")
    other = await api.post("messages", json={"message": "Ho"}, headers=KEY)
    assert_problem(other, 422, "idempotency_mismatch")
    again = await api.post("messages", json={"message": "Hi"}, headers=KEY)
    assert again.status_code == 200
    assert len(app.table.rows(PARTITION, "turn:")) == 2


async def test_a_failure_that_stays_is_kept(app: App, api: httpx.AsyncClient) -> None:
    app.foundry.then_fail(400, {"code": "content_filter", "message": "no"})
    first = await api.post("messages", json={"message": "Hi"}, headers=KEY)
    assert_problem(first, 422, "content_filter")
    again = await api.post("messages", json={"message": "Hi"}, headers=KEY)
    assert (again.status_code, again.content) == (422, first.content)
    assert again.headers["content-type"] == "application/problem+json"
    assert len(app.foundry.sent) == 1


async def test_what_fails_before_it_begins_leaves_no_trace(
    app: App, api: httpx.AsyncClient
) -> None:
    thread_id = await new_thread(api)
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    url = f"threads/{thread_id}/messages"
    async with asyncio.TaskGroup() as group:
        running = group.create_task(api.post(url, json={"message": "first"}))
        await arrived.wait()
        busy = await api.post(url, json={"message": "second"}, headers=KEY)
        assert_problem(busy, 409, "thread_busy")
        assert key_rows(app) == []
        release.set()
    assert running.result().status_code == 200
    corrected = await api.post(url, json={"message": "second, corrected"}, headers=KEY)
    assert corrected.status_code == 200
    missing = await api.post(
        "jobs",
        json={"message": "Hi", "thread_id": "thread_01HZZZZZZZZZZZZZZZZZZZZZZZ"},
        headers={"Idempotency-Key": "other"},
    )
    assert_problem(missing, 404, "not_found")
    assert len(key_rows(app)) == 1


async def test_an_answer_too_long_to_keep_is_never_made_again(
    app: App, api: httpx.AsyncClient
) -> None:
    text = "x" * 800_000
    first = await api.post("messages", json={"message": text}, headers=KEY)
    assert first.status_code == 200
    again = await api.post("messages", json={"message": text}, headers=KEY)
    assert_problem_code(again, 409, "answer_not_kept")
    assert len(app.foundry.sent) == 1


def assert_problem_code(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_after_a_death_before_the_commit_the_request_runs_again(
    app: App, api: httpx.AsyncClient
) -> None:
    app.table.before_next_write(_let_through)  # the key
    app.table.fail_next_write()  # the commit
    app.table.fail_next_write()  # the audit record of its failure
    app.table.fail_next_write()  # giving up, which a dead process does not do either
    lost = await api.post("messages", json={"message": "Hi"}, headers=KEY)
    assert_problem(lost, 503, "storage_unavailable")
    refused = await api.post("messages", json={"message": "Hi"}, headers=KEY)
    assert_problem(refused, 409, "idempotency_in_progress")
    app.clock.advance(HOLD_SECONDS)
    done = await api.post("messages", json={"message": "Hi"}, headers=KEY)
    assert done.status_code == 200
    assert len(app.table.rows(PARTITION, "turn:")) == 1


async def test_after_a_death_between_send_and_commit_the_message_stands_there_once(
    project: tuple[App, Services],
) -> None:
    app, services = project
    async with caller(services) as api:
        url = f"threads/{await new_thread(api)}/messages"
        app.table.before_next_write(_let_through)  # the key
        app.table.before_next_write(_let_through)  # the lease
        app.table.fail_next_write()  # the commit, as if the process had died
        lost = await api.post(url, json={"message": "Hi"}, headers=KEY)
        assert_problem(lost, 503, "storage_unavailable")
        app.clock.advance(HOLD_SECONDS)
        done = await api.post(url, json={"message": "Hi"}, headers=KEY)
        assert done.status_code == 200, done.text
    (items,) = app.foundry.conversations.values()
    assert [item["role"] for item in items] == ["user", "assistant"]


async def _let_through() -> None:
    """Do nothing before a write."""


async def test_one_that_was_taken_for_dead_cannot_commit_a_second_turn(
    app: App, api: httpx.AsyncClient
) -> None:
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(api.post("messages", json={"message": "Hi"}, headers=KEY))
        await arrived.wait()
        app.clock.advance(HOLD_SECONDS)
        quick = await api.post("messages", json={"message": "Hi"}, headers=KEY)
        release.set()
    assert slow.result().content == quick.content
    assert slow.result().headers["idempotency-replayed"] == "true"
    assert len(app.table.rows(PARTITION, "turn:")) == 1


async def test_many_callers_on_few_keys_make_one_turn_each(
    app: App, api: httpx.AsyncClient
) -> None:
    async def call(number: int) -> tuple[int, bytes]:
        key = {"Idempotency-Key": f"key-{number % 10}"}
        body = {"message": f"message {number % 10}"}
        while True:
            answer = await api.post("messages", json=body, headers=key)
            if answer.status_code == 200:
                return number % 10, answer.content
            assert_problem(answer, 409, "idempotency_in_progress")

    answers = await asyncio.gather(*(call(number) for number in range(200)))
    assert len(set(answers)) == 10
    assert len(app.table.rows(PARTITION, "turn:")) == 10
    assert len(app.foundry.sent) == 10
