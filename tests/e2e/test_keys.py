"""Client keys on running apps: the first key, every header, revocation, guesses, budgets."""

import asyncio
import json
import os
import stat
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.azurite import connection_string
from local.client_key import kept_key
from local.services import Azurite, FoundryEmulator, FunctionsHost
from shared.state.key_text import KeyText, new_key_id
from tests.support import forking
from tests.support.asking import ended, submit
from tests.support.client_keys import bearer
from tests.support.leaks import leaks
from tests.support.served import Deployment, put_on_intake
from tests.support.storage_meter import StorageMeter
from tests.support.waiting import eventually

GUESSES = int(os.environ.get("GUESSES", "300"))
AT_ONCE = 100
REVOKED_WITHIN_SECONDS = 30

HI = {"message": "Hi"}
KEYS = {"AUTH_MODE": "keys"}


@dataclass(frozen=True)
class Stage:
    """Two processes of the app that take client keys, and the storage requests of the second."""

    urls: tuple[str, str]
    deployment: Deployment
    meter: StorageMeter
    admin: str

    def client(self, key: str, process: int = 0) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"{self.urls[process]}/api/", headers=bearer(key), timeout=30
        )

    async def create(self, **body: Any) -> str:
        async with self.client(self.admin) as client:
            answer = await client.post("keys", json={"label": "test", **body})
        assert answer.status_code == 201, answer.text
        return answer.json()["key"]


def command(deployment: Deployment, *arguments: str) -> str:
    """What the command line prints."""
    environment = {**os.environ, **deployment.environment(**KEYS)}
    done = forking.run("shared.commands.keys", *arguments, environment=environment)
    assert done.returncode == 0, done.stderr
    assert leaks(done.stderr) == []
    return done.stdout.strip()


@pytest.fixture(scope="module")
async def stage(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    own = Deployment(azurite.connection_string, foundry)
    admin = await asyncio.to_thread(command, own, "create", "--label", "first", "--admin")
    with ExitStack() as running:
        async with StorageMeter(azurite.ports.table).running() as meter:
            metered = replace(
                own, storage=connection_string(replace(azurite.ports, table=meter.port))
            )
            talkative, quiet = (
                running.enter_context(each.serve(tmp_path_factory.mktemp("keys"), loud, **KEYS))
                for each, loud in ((own, True), (metered, False))
            )
            yield Stage((talkative.url, quiet.url), own, meter, admin)
    assert leaks(await own.everything()) == []
    assert await own.of_no_kind() == []


async def test_every_header_carries_a_key(stage: Stage) -> None:
    key = await stage.create()
    async with httpx.AsyncClient(base_url=f"{stage.urls[1]}/api/", timeout=30) as client:
        for header in ("api-key", "x-api-key", "x-functions-key"):
            assert (await client.get("me", headers={header: key})).status_code == 200
        assert (await client.get("me", headers=bearer(key))).json()["how"] == "keys"
        assert (await client.get("me")).status_code == 401
        assert (await client.get("health")).status_code == 200
        both = {**bearer(key), "api-key": stage.admin}
        assert (await client.get("me", headers=both)).status_code == 401


async def test_a_key_sends_streams_and_runs_jobs_as_its_own_owner(stage: Stage) -> None:
    key = await stage.create()
    owner = f"key:{key.split('_')[1]}"
    async with stage.client(key) as client:
        assert (await client.post("messages", json=HI)).json()["content"] == "You said: Hi"
        streamed = await client.post("messages", json=HI, headers={"accept": "text/event-stream"})
        assert "event: turn.completed" in streamed.text
        job = await ended(client, await submit(client, **HI))
        assert job["status"] == "succeeded"
    turns = await stage.deployment.rows(owner, kind="turn")
    assert len(turns) == 3
    async with stage.client(stage.admin) as admin:
        usage = (await admin.get("usage", params={"owner": owner, "by": "owner"})).json()
    ((group_owner, requests),) = [(each["owner"], each["requests"]) for each in usage["groups"]]
    assert group_owner == owner
    assert requests in {2, 3}, "a job that the other process ran is not written yet"


async def test_usage_metrics_and_audit_know_the_key_and_what_it_called(stage: Stage) -> None:
    first = await stage.create()
    owner = f"key:{first.split('_')[1]}"
    second = await stage.create(owner=owner)
    one_id, other_id = (key.split("_")[1] for key in (first, second))
    ask = {"name": "ask_agent", "arguments": HI}
    rpc = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ask}
    async with stage.client(first) as one, stage.client(second) as other:
        assert (await one.post("messages", json=HI)).status_code == 200
        assert (await other.post("mcp", json=rpc)).json()["result"]["structuredContent"]
        for client in (one, other):
            models = (await client.get("v1/models")).json()["data"]
            chat = {"model": models[0]["id"], "messages": [{"role": "user", "content": "Hi"}]}
            answer = await client.post("v1/chat/completions", json=chat)
            assert answer.status_code == 200, answer.text
        groups = (await one.get("usage", params={"by": "key,face"})).json()["groups"]
        assert {(each["key"], each["face"]): each["requests"] for each in groups} == {
            (one_id, "api"): 1,
            (one_id, "openai"): 1,
            (other_id, "openai"): 1,
            (other_id, "mcp"): 1,
        }
        groups = (await one.get("metrics", params={"by": "face"})).json()["groups"]
        requests = {each["face"]: each["total_requests"] for each in groups}
        assert requests == {"api": 1, "openai": 2, "mcp": 1}
        mine = {"action": "send", "subject": f"key:{other_id}", "face": "mcp"}
        (record,) = (await one.get("audit", params=mine)).json()["data"]
        assert (record["subject"], record["face"]) == (mine["subject"], "mcp")
        assert (await ended(other, await submit(other, **HI)))["status"] == "succeeded"

    async def queued_turn() -> set[tuple[str | None, str]] | None:
        rows = await stage.deployment.rows(owner, kind="turn")
        return {(row.get("key_id"), row["face"]) for row in rows} if len(rows) == 6 else None

    await put_on_intake(stage.deployment, json.dumps({"owner": owner, **HI}))
    expected = {(one_id, "api"), (one_id, "openai"), (other_id, "openai"), (other_id, "mcp")}
    assert await eventually(queued_turn, 30) == expected | {(other_id, "api"), (None, "queue")}


async def test_the_budget_of_one_key_leaves_that_of_another(stage: Stage) -> None:
    budgets = [{"requests": 2, "per": "day"}]
    shared = {"owner": "key", "budgets": budgets}
    first, second = await stage.create(**shared), await stage.create(**shared)
    async with stage.client(first) as one, stage.client(second, 1) as other:
        for _ in range(2):
            assert (await one.post("messages", json=HI)).status_code == 200
        refused = await one.post("messages", json=HI)
        assert refused.status_code == 429
        assert refused.json()["budget"]["subject"] == f"key:{first.split('_')[1]}"
        left = {each["left"] for each in (await other.get("me")).json()["budgets"]}
        assert left == {2}
        assert (await other.post("messages", json=HI)).status_code == 200


async def test_models_and_tools_beyond_a_key_are_refused(stage: Stage) -> None:
    key = await stage.create(models=["another"], tools=["web_search"])
    async with stage.client(key) as client:
        refused = await client.post("messages", json=HI)
        assert refused.status_code == 403
        assert refused.json()["errors"] == [{"field": "model", "reason": "must be one of another"}]
        assert (await client.post("jobs", json=HI)).status_code == 403


async def test_an_expired_key_is_refused_without_another_read(stage: Stage) -> None:
    expires_at = time.time() + 3
    key = await stage.create(
        expires_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires_at))
    )
    async with stage.client(key) as client:
        assert (await client.get("me")).status_code == 200

        async def is_refused() -> bool:
            return "has expired" in (await client.get("me")).text

        await eventually(is_refused)


def guesses(admin: str) -> list[str]:
    """Keys of another app, near misses of a key, and secrets for an id that exists."""
    known = admin.split("_")[1]
    ids = [known if n % 4 == 0 else new_key_id() for n in range(GUESSES)]
    return [KeyText.new(key_id, bytes([n % 256]) * 32).show() for n, key_id in enumerate(ids)]


async def test_a_revocation_reaches_other_processes_in_time_and_guesses_reach_nothing(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    revoked, valid, unread = [await stage.create() for _ in range(3)]
    async with stage.client(revoked, 1) as client:
        assert (await client.get("me")).status_code == 200
    async with stage.client(valid, 1) as client:
        quiet = await latencies(client, 20)
    await asyncio.to_thread(command, stage.deployment, "revoke", revoked.split("_")[1])
    revoked_at = time.monotonic()
    stage.meter.calls.clear()
    work = asyncio.create_task(guess_all(stage))
    async with stage.client(valid, 1) as client:
        meanwhile = await latencies(client, 20)
    async with stage.client(unread, 1) as client:
        assert (await client.get("me")).status_code == 200
    statuses = await work
    seconds = time.monotonic() - revoked_at
    reads = [call for call in stage.meter.calls if "sealed-keys" in call]
    assert statuses == {401}
    assert len(reads) <= 3 + seconds / 5, reads  # of keys that exist, and of the seal

    async with stage.client(revoked, 1) as client:

        async def is_refused() -> bool:
            return (await client.get("me")).status_code == 401

        left = REVOKED_WITHIN_SECONDS - (time.monotonic() - revoked_at)
        await eventually(is_refused, max(left, 1))
    took = time.monotonic() - revoked_at
    with capsys.disabled():
        print(  # noqa: T201 (figures for the reader)
            f"\n{GUESSES} guesses: {seconds:.1f} s, {len(reads)} reads of keys; a valid key: "
            f"{quiet:.0f} ms before, {meanwhile:.0f} ms meanwhile; revoked after {took:.1f} s"
        )
    assert took < max(REVOKED_WITHIN_SECONDS, seconds + 5)


async def latencies(client: httpx.AsyncClient, count: int) -> float:
    """The median time of a request that a key authenticates, in milliseconds."""
    times: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        assert (await client.get("me")).status_code == 200
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


async def guess_all(stage: Stage) -> set[int]:
    """Try all guesses, some at once; returns the statuses of the answers."""
    slots = asyncio.Semaphore(AT_ONCE)
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(
        base_url=f"{stage.urls[1]}/api/", timeout=120, limits=limits
    ) as client:

        async def guess(key: str) -> int:
            async with slots:
                return (await client.get("threads", headers=bearer(key))).status_code

        return set(await asyncio.gather(*map(guess, guesses(stage.admin))))


def test_the_command_line_lists_and_revokes(stage: Stage) -> None:
    key = command(
        *(stage.deployment, "create", "--label", "reports", "--expires", "2100-01-01T00:00Z"),
        *("--models", "a,b", "--budgets", '[{"tokens": 5, "per": "day"}]'),
    )
    key_id = key.split("_")[1]
    assert command(stage.deployment, "revoke", key_id) == f"{key_id} (reports) is revoked"
    (line,) = [
        line for line in command(stage.deployment, "list").splitlines() if line.startswith(key_id)
    ]
    assert line.split()[1:3] == [f"key:{key_id}", "Agents.Use"]
    assert "revoked" in line
    assert leaks(command(stage.deployment, "list")) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--owner", "somebody"], "owner must be"),
        (["--expires", "2020-01-01T00:00Z"], "must be in the future"),
        (["--budgets", '[{"money": 5, "per": "day"}]'], "PRICES"),
        (["--budgets", '[{"tokens": 5}]'], "give per"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    deployment: Deployment, arguments: list[str], reason: str
) -> None:
    create = ("create", "--label", "x", *arguments)
    environment = {**os.environ, **deployment.environment()}
    done = forking.run("shared.commands.keys", *create, environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


async def test_make_run_keeps_one_key_that_works(
    app: FunctionsHost, deployment: Deployment, tmp_path: Path
) -> None:
    file = tmp_path / "client-key"
    environment = {**os.environ, **deployment.environment()}

    def kept() -> str:
        return kept_key(file, app.url, environment)

    key = await asyncio.to_thread(kept)
    assert await asyncio.to_thread(kept) == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with httpx.AsyncClient(base_url=f"{app.url}/api/", headers=bearer(key)) as client:
        me = (await client.get("me")).json()
    assert me["roles"] == ["Agents.Admin", "Agents.Use"]
    file.write_text(key[:-1] + "-")
    renewed = await asyncio.to_thread(kept)
    assert renewed != key
    assert file.read_text().strip() == renewed
