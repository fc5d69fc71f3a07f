"""Requests that the Functions host sends to the worker twice, or whose answer it loses."""

from __future__ import annotations

import httpx

LOSE_THE_ANSWER = {"x-local-host-fault": "drop-answer"}
"""The local host runs the function and then behaves as if its worker had gone away."""


async def test_a_request_without_a_body_that_is_sent_again_acts_once(
    caller: httpx.AsyncClient,
) -> None:
    before = await _threads(caller)
    answer = await caller.post("threads", headers=LOSE_THE_ANSWER)
    assert answer.status_code == 201, answer.text
    new = await _threads(caller) - before
    assert new == {answer.json()["thread_id"]}


async def test_requests_without_a_body_are_not_taken_for_one_another(
    caller: httpx.AsyncClient,
) -> None:
    first, second = await caller.post("threads"), await caller.post("threads")
    assert first.json()["thread_id"] != second.json()["thread_id"]
    assert "idempotency-replayed" not in second.headers


async def test_an_answer_that_was_lost_is_given_to_the_same_key(caller: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "lost-by-the-host"}
    before = await _threads(caller)
    body = {"metadata": {"made": "once"}}
    lost = await caller.post("threads", json=body, headers={**key, **LOSE_THE_ANSWER})
    assert (lost.status_code, lost.content) == (502, b"")
    again = await caller.post("threads", json=body, headers=key)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert await _threads(caller) - before == {again.json()["thread_id"]}


async def test_addresses_in_answers_do_not_depend_on_the_host_header(
    caller: httpx.AsyncClient,
) -> None:
    answer = await caller.post("threads", json={}, headers={"host": "evil.example.com"})
    assert answer.headers["location"] == f"/api/threads/{answer.json()['thread_id']}"
    assert "evil" not in answer.text


async def test_letter_case_and_a_slash_at_the_end_do_not_matter(caller: httpx.AsyncClient) -> None:
    assert (await caller.get("Threads/")).status_code == 200
    wrong = await caller.put("THREADS/")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, POST")


async def _threads(caller: httpx.AsyncClient) -> set[str]:
    page = (await caller.get("threads", params={"limit": 100})).json()
    return {thread["thread_id"] for thread in page["data"]}
