"""`/threads` and turns on them, as a caller sees them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.app import Services
from shared.config import AppSettings, FoundryAgentServiceConfig
from shared.state.keys import Kind, new_id
from shared.state.threads import Thread
from tests.support.app_on_fakes import App, at_resource
from tests.support.calling import assert_problem, caller

UNKNOWN = [new_id(Kind.THREAD), new_id(Kind.JOB), "x", "thread_%2F", "thread_' or ''eq'"]


async def make(api: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await api.post("threads", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_new_thread_is_where_its_location_says(api: httpx.AsyncClient) -> None:
    answer = await api.post("threads", json={"metadata": {"k": "v"}, "expires_in": 60})
    made = answer.json()
    assert answer.headers["location"] == f"/api/threads/{made['thread_id']}"
    assert (await api.get(f"http://app{answer.headers['location']}")).json() == made
    assert made["metadata"] == {"k": "v"}
    assert made["message_count"] == made["total_tokens"] == 0
    assert made["created_at"] == "2026-03-01T12:00:00+00:00"
    assert made["expires_at"] == "2026-03-01T12:01:00+00:00"


async def test_a_message_alone_is_answered_with_all_fields(
    app: App, api: httpx.AsyncClient
) -> None:
    answer = await api.post("messages", json={"message": "Hi", "domain": "sales"})
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert (body["content"], body["finish_reason"]) == ("You said: Hi", "stop")
    assert (body["thread_id"], body["success"], body["error"]) == (None, True, None)
    assert body["turn_id"].startswith("turn_")
    assert body["usage"]["total_tokens"] == 5
    assert body["metadata"]["response_id"].startswith("resp_")
    assert (app.table.reads, app.table.writes) == (0, 1)


async def test_messages_on_a_thread_go_on_from_each_other(app: App, api: httpx.AsyncClient) -> None:
    thread_id = (await make(api))["thread_id"]
    for text in ("My name is Ada.", "What is my name?"):
        answer = await api.post(f"threads/{thread_id}/messages", json={"message": text})
        assert answer.json()["thread_id"] == thread_id
    assert app.foundry.sent[1]["previous_response_id"]
    info = (await api.get(f"threads/{thread_id}")).json()
    assert (info["message_count"], info["total_tokens"]) == (2, 10)
    history = (await api.get(f"threads/{thread_id}/messages", params={"limit": 2})).json()
    assert [item["role"] for item in history["data"]] == ["assistant", "user"]
    older = await api.get(
        f"threads/{thread_id}/messages", params={"cursor": history["next_cursor"]}
    )
    assert older.json()["data"][-1]["content"] == "My name is Ada."
    assert older.json()["next_cursor"] is None


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_the_history_of_a_response_chain_is_read_in_pages_of_any_size(
    api: httpx.AsyncClient, limit: int
) -> None:
    thread_id = (await make(api))["thread_id"]
    for text in ("one", "two"):
        await api.post(f"threads/{thread_id}/messages", json={"message": text})
    read: list[str] = []
    query: dict[str, Any] = {"limit": limit}
    while query.get("cursor", "first"):
        page = await api.get(f"threads/{thread_id}/messages", params=query)
        assert page.status_code == 200, page.text
        read += [message["content"] for message in page.json()["data"]]
        query["cursor"] = page.json()["next_cursor"]
    assert read == ["You said: two", "two", "You said: one", "one"]


@pytest.mark.parametrize("cursor", ["resp_9", "resp 1", "resp_1:x", ":1", "../models", "x" * 257])
async def test_a_cursor_that_no_page_has_is_422(api: httpx.AsyncClient, cursor: str) -> None:
    thread_id = (await make(api))["thread_id"]
    (await api.post(f"threads/{thread_id}/messages", json={"message": "Hi"})).raise_for_status()
    answer = await api.get(f"threads/{thread_id}/messages", params={"cursor": cursor})
    assert_problem(answer, 422, "invalid_request")


async def test_a_thread_in_use_is_409_with_when_to_come_back(
    app: App, api: httpx.AsyncClient
) -> None:
    thread_id = (await make(api))["thread_id"]
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    path = f"threads/{thread_id}/messages"
    first = asyncio.create_task(api.post(path, json={"message": "one"}))
    await arrived.wait()
    busy = await api.post(path, json={"message": "two"})
    assert_problem(busy, 409, "thread_busy")
    assert busy.headers["retry-after"] == "60"
    assert_problem(await api.delete(f"threads/{thread_id}"), 409, "thread_busy")
    patient = asyncio.create_task(api.post(path, json={"message": "three"}, params={"wait": 30}))
    release.set()
    assert (await first).status_code == (await patient).status_code == 200
    refused = await api.post(path, json={"message": "four"}, params={"wait": 101})
    assert_problem(refused, 422, "invalid_request")


@pytest.mark.parametrize("thread_id", UNKNOWN)
async def test_an_unknown_thread_is_404(app: App, api: httpx.AsyncClient, thread_id: str) -> None:
    path = f"threads/{thread_id}"
    for answer in (
        await api.get(path),
        await api.patch(path, json={"metadata": {}}),
        await api.delete(path),
        await api.get(f"{path}/messages"),
        await api.post(f"{path}/messages", json={"message": "Hi"}),
        await api.post("jobs", json={"message": "Hi", "thread_id": thread_id}),
    ):
        assert_problem(answer, 404, "not_found")
    assert app.table.writes == 0
    assert app.foundry.calls == []


async def test_somebody_elses_thread_is_404(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    thread_id = new_id(Kind.THREAD)
    await services.core.threads.add(Thread(thread_id, "somebody", app.clock(), app.clock()))
    assert_problem(await api.get(f"threads/{thread_id}"), 404, "not_found")
    assert (await api.get("threads")).json()["data"] == []


async def test_metadata_is_merged_and_null_removes(api: httpx.AsyncClient) -> None:
    path = f"threads/{(await make(api, metadata={'a': '1', 'b': '2'}))['thread_id']}"
    answer = await api.patch(path, json={"metadata": {"a": None, "c": "3"}})
    assert answer.json()["metadata"] == {"b": "2", "c": "3"}
    full = {f"k{n}": "v" for n in range(15)}
    assert_problem(await api.patch(path, json={"metadata": full}), 422, "metadata_full")
    assert (await api.get(path)).json()["metadata"] == {"b": "2", "c": "3"}


async def test_a_deleted_thread_is_gone_here_and_there(project: tuple[App, Services]) -> None:
    app, services = project
    async with caller(services) as api:
        thread_id = (await make(api))["thread_id"]
        assert len(app.foundry.conversations) == 1
        answer = await api.delete(f"threads/{thread_id}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert app.foundry.conversations == {}
        assert_problem(await api.delete(f"threads/{thread_id}"), 404, "not_found")


async def test_a_thread_already_gone_in_foundry_still_deletes(
    project: tuple[App, Services],
) -> None:
    app, services = project
    async with caller(services) as api:
        thread_id = (await make(api))["thread_id"]
        app.foundry.conversations.clear()
        assert (await api.delete(f"threads/{thread_id}")).status_code == 204


async def test_a_removal_that_foundry_refused_can_be_repeated(
    project: tuple[App, Services],
) -> None:
    app, services = project
    async with caller(services) as api:
        path = f"threads/{(await make(api))['thread_id']}"
        (name,) = app.foundry.conversations
        app.foundry.then(httpx.Response(500), f"/conversations/{name}")
        assert_problem(await api.delete(path), 503, "service_unavailable")
        assert (await api.delete(path)).status_code == 204


async def test_threads_are_listed_newest_first_with_a_cursor(
    app: App, api: httpx.AsyncClient
) -> None:
    made = await make_at_intervals(app, api, 5)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.get("threads", params={"limit": 2, **cursor})).json()
        seen += [thread["thread_id"] for thread in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == made[::-1]


async def make_at_intervals(app: App, api: httpx.AsyncClient, count: int) -> list[str]:
    """Threads whose ids are in order; ids are only so by the millisecond."""
    made: list[str] = []
    for _ in range(count):
        made.append((await make(api))["thread_id"])
        await asyncio.sleep(0.002)
    return made


async def test_threads_are_filtered_by_metadata(api: httpx.AsyncClient) -> None:
    red = await make(api, metadata={"colour": "red", "the size": "it's big"})
    await make(api, metadata={"colour": "blue"})
    query = {"metadata.colour": "red", "metadata.the size": "it's big"}
    found = (await api.get("threads", params=query)).json()["data"]
    assert [thread["thread_id"] for thread in found] == [red["thread_id"]]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"cursor": "thread_x"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({f"metadata.k{n}": "v" for n in range(9)}, "metadata"),
        ({"metadata.": "v"}, "metadata."),
        ({"metadata." + "k" * 65: "v"}, "metadata." + "k" * 65),
        ({"metadata.k": "v" * 513}, "metadata.k"),
    ],
)
async def test_a_wrong_query_names_the_field(
    api: httpx.AsyncClient, query: dict[str, str], field: str
) -> None:
    document = assert_problem(await api.get("threads", params=query), 422, "invalid_request")
    assert document["errors"][0]["field"] == field


async def test_eight_filters_at_once_can_be_asked_for(api: httpx.AsyncClient) -> None:
    query = {f"metadata.k{n}": "v" for n in range(8)}
    assert (await api.get("threads", params=query)).json()["data"] == []


async def test_a_thread_on_its_way_out_does_not_end_the_list(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    made = await make_at_intervals(app, api, 3)
    await services.core.threads.start_removal("key", made[2])
    page = (await api.get("threads", params={"limit": 2})).json()
    assert page["next_cursor"] is not None


async def test_an_expired_thread_is_neither_found_nor_listed(
    app: App, api: httpx.AsyncClient
) -> None:
    thread = await make(api, expires_in=60)
    app.clock.now += timedelta(seconds=61)
    assert_problem(await api.get(f"threads/{thread['thread_id']}"), 404, "not_found")
    assert (await api.get("threads")).json()["data"] == []


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (FoundryAgentServiceConfig(), "endpoint URL not configured"),
        (at_resource(enable_stateful_threads=False), "FOUNDRY_ENABLE_STATEFUL_THREADS"),
    ],
)
async def test_an_app_that_is_not_configured_says_so(
    app: App, config: FoundryAgentServiceConfig, text: str
) -> None:
    app.settings = AppSettings(foundry=config)
    async with caller(app.services()) as api:
        answer = await api.post("threads", json={})
        assert text in assert_problem(answer, 503, "configuration_error")["detail"]
        assert (await api.get("health")).status_code == 200
