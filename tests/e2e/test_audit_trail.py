"""The audit trail as callers read it: every action, one's own only, in pages and as lines."""

import json
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from local.services import Azurite, FoundryEmulator
from tests.support.asking import ended, say, submit
from tests.support.callers import (
    ACCESS,
    ADMIN,
    CLIENT,
    OTHER,
    OTHER_TENANT,
    OWNER,
    OWNER_KEY,
    TENANT,
    known,
)
from tests.support.served import Deployment, JsonObject
from tests.support.serving import serve
from tests.support.waiting import eventually

TEXT = "What nobody else should read"
OWNERS = known(TENANT, OWNER)
OTHERS = known(TENANT, OTHER)
ADMINS = known(OTHER_TENANT, ADMIN, "Agents.Admin")


@pytest.fixture(scope="module")
async def caller(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app whose callers are known to Entra; each request says who it is."""
    deployment = Deployment(azurite.connection_string, foundry)
    settings = {**ACCESS, "AUTH_MODE": "entra"}
    with serve(deployment, tmp_path_factory.mktemp("audited"), settings) as host:
        async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=30) as client:
            yield client


@pytest.fixture(scope="module")
async def history(caller: httpx.AsyncClient) -> JsonObject:
    """What the owner did, and what others tried to do with it."""
    caller.headers.update(OWNERS)
    thread_id = (await caller.post("threads", json={})).json()["thread_id"]
    turn = await say(caller, thread_id, TEXT)
    path = f"threads/{thread_id}"
    await caller.get(path)
    await caller.get(f"{path}/messages")
    await caller.patch(path, json={"metadata": {"note": TEXT}})
    job_id = await submit(caller, message=TEXT)
    await ended(caller, job_id)
    waiting = await submit(caller, message=TEXT, not_before="2099-01-01T00:00:00Z")
    await caller.post(f"jobs/{waiting}/cancel")
    await caller.delete(path)
    await caller.post("messages", json={"mesage": TEXT})
    await caller.get(path, headers=OTHERS)
    await caller.get(path, headers={**OTHERS, "x-ms-client-principal": "forged"})
    return {"thread_id": thread_id, "job_id": job_id, "turn": turn}


async def records(
    caller: httpx.AsyncClient, headers: dict[str, str], **query: str
) -> list[JsonObject]:
    answer = await caller.get("audit", headers=headers, params={"limit": 1000, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_every_action_is_on_record_for_its_owner(
    caller: httpx.AsyncClient, history: JsonObject
) -> None:
    expected = {
        ("thread_create", "succeeded"),
        ("send", "succeeded"),
        ("thread_read", "succeeded"),
        ("thread_change", "succeeded"),
        ("job_submit", "succeeded"),
        ("job_read", "succeeded"),
        ("job_cancel", "succeeded"),
        ("thread_delete", "succeeded"),
        ("send", "refused"),
    }

    async def all_there() -> list[JsonObject]:
        found = await records(caller, OWNERS)
        return found if expected <= {(r["action"], r["outcome"]) for r in found} else []

    found = await eventually(all_there)
    assert {r["owner"] for r in found} == {OWNER_KEY}
    by_admin = (ADMIN, "audit_read")  # in another test, which may come first
    own = [r for r in found if (r["subject"], r["action"]) != by_admin]
    assert {(r["subject"], r["actor"], r["how"]) for r in own} == {(OWNER, CLIENT, "entra")}
    assert [r["at"] for r in found] == sorted((r["at"] for r in found), reverse=True)
    assert TEXT not in json.dumps(found)
    sent = [r for r in found if r["action"] == "send" and r["outcome"] == "succeeded"]
    (on_thread,) = (r for r in sent if r.get("thread_id") == history["thread_id"])
    (in_job,) = (r for r in sent if r.get("job_id") == history["job_id"])
    turn = history["turn"]
    assert on_thread["turn_id"] == turn["turn_id"]
    assert on_thread["response_id"] == turn["metadata"]["response_id"]
    assert on_thread["total_tokens"] == turn["usage"]["total_tokens"]
    assert on_thread["latency"] > 0
    assert in_job["job_id"] == history["job_id"]
    (refused,) = (r for r in found if (r["action"], r["outcome"]) == ("send", "refused"))
    assert refused["code"] == "invalid_request"


async def test_filters_choose(caller: httpx.AsyncClient, history: JsonObject) -> None:
    async def deleted() -> list[JsonObject]:
        return await records(caller, OWNERS, action="thread_delete")

    (only,) = await eventually(deleted)
    assert only["thread_id"] == history["thread_id"]
    about = await records(caller, OWNERS, thread_id=history["thread_id"])
    assert {r["thread_id"] for r in about} == {history["thread_id"]}
    assert await records(caller, OWNERS, thread_id="' or '1' eq '1") == []
    assert await records(caller, OWNERS, to="2020-01-02", **{"from": "2020-01-01"}) == []


@pytest.mark.parametrize(
    "query",
    [
        "action=fly",
        "outcome=x",
        "from=today",
        "from=2020-01-01",
        "to=0001-01-01",
        "from=0001-01-01&to=0001-01-02",
        "limit=1001",
        "cursor=x",
    ],
)
async def test_what_cannot_be_asked_is_refused(
    caller: httpx.AsyncClient, history: JsonObject, query: str
) -> None:
    answer = await caller.get(f"audit?{query}", headers=OWNERS)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_pages_and_json_lines_give_the_same_records(
    caller: httpx.AsyncClient, history: JsonObject
) -> None:
    wanted = {"thread_id": history["thread_id"]}

    async def settled() -> list[JsonObject]:
        found = await records(caller, OWNERS, **wanted)
        return found if any(r["action"] == "thread_delete" for r in found) else []

    whole = await eventually(settled)
    lines: list[JsonObject] = []
    url: str | None = f"audit?thread_id={history['thread_id']}&limit=2"
    while url:
        answer = await caller.get(url, headers={**OWNERS, "accept": "application/x-ndjson"})
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines += [json.loads(line) for line in answer.text.splitlines()]
        following = answer.links.get("next")
        url = str(answer.url.join(following["url"])) if following else None
    assert lines == whole


async def test_others_see_their_own_attempts_and_nothing_else(
    caller: httpx.AsyncClient, history: JsonObject
) -> None:
    async def attempted() -> list[JsonObject]:
        return await records(caller, OTHERS, action="thread_read")

    (attempt,) = await eventually(attempted)
    assert (attempt["outcome"], attempt["code"]) == ("refused", "not_found")
    assert (await caller.get("audit?all_owners=true", headers=OTHERS)).status_code == 403


async def test_a_known_caller_who_is_refused_is_named(caller: httpx.AsyncClient) -> None:
    stranger = str(uuid.uuid4())
    no_role = known(TENANT, stranger, "Another.Role")
    assert (await caller.get("threads", headers=no_role)).status_code == 403
    named = {"owner": OWNER_KEY}
    answer = await caller.get("jobs", params=named, headers=known(TENANT, stranger))
    assert answer.status_code == 403

    async def both() -> list[JsonObject]:
        found = await records(caller, ADMINS, owner=f"{TENANT}:{stranger}")
        return found if len(found) == 2 else []

    found = await eventually(both)
    assert {(r["action"], r["outcome"], r["code"], r["subject"]) for r in found} == {
        ("thread_read", "refused", "forbidden", stranger),
        ("job_read", "refused", "forbidden", stranger),
    }


async def test_an_admin_reads_anybodys_and_everybodys(
    caller: httpx.AsyncClient, history: JsonObject
) -> None:
    theirs = await records(caller, ADMINS, owner=OWNER_KEY, action="thread_create")
    assert [r["thread_id"] for r in theirs] == [history["thread_id"]]

    async def strangers_too() -> bool:
        everybodys = await records(caller, ADMINS, all_owners="true")
        owners = {r["owner"] for r in everybodys}
        return {OWNER_KEY, f"{TENANT}:{OTHER}", "$nobody"} <= owners

    await eventually(strangers_too)
