"""The emulator as a process: its state outlives it, and it starts and stops in good order."""

import asyncio
import os
import sqlite3
from pathlib import Path
from subprocess import CompletedProcess

import aiohttp
import httpx
import pytest

from tests.support import forking

from .conftest import TOKEN, Emulator, FaultInjector, message, running_emulator, text_of, turn

HEADERS = {"authorization": f"Bearer {TOKEN}"}


def client_of(emulator: Emulator) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=emulator.openai + "/", headers=HEADERS, timeout=20)


async def test_state_survives_a_kill(tmp_path: Path) -> None:
    state = str(tmp_path / "state" / "foundry.db")
    async with running_emulator("--state", state) as first, client_of(first) as client:
        identity = {"x-identity-header": "local-identity"}
        query = "api-version=2019-08-01&resource=https://ai.azure.com"
        issued = await client.get(f"{first.origin}/msi/token?{query}", headers=identity)
        conversation = (await client.post("conversations", json={})).json()["id"]
        said = turn("My name is Ada.", conversation=conversation)
        answered = (await client.post("responses", json=said)).json()
        slow = {"kind": "slow", "operation": "responses.create", "seconds": 5}
        await client.post(f"{first.origin}/_emulator/faults", json=slow)
        running = (await client.post("responses", json=turn("hi", background=True))).json()
        definition = {"definition": {"kind": "prompt", "model": "gpt-4o-mini"}}
        await client.post(f"{first.project}/agents/kept/versions?api-version=v1", json=definition)
        await first.kill()
    async with running_emulator("--state", state) as second, client_of(second) as client:
        client.headers["authorization"] = f"Bearer {issued.json()['access_token']}"
        assert (await client.get(f"responses/{answered['id']}")).json() == answered
        asked = turn("What is my name?", conversation=conversation)
        recalled = (await client.post("responses", json=asked)).json()
        assert text_of(recalled) == "Your name is Ada."
        lost = (await client.get(f"responses/{running['id']}")).json()
        assert (lost["status"], lost["error"]["code"]) == ("failed", "server_error")
        agent = await client.get(f"{second.project}/agents/kept?api-version=v1")
        assert agent.json()["versions"]["latest"]["version"] == "1"


async def test_a_deleted_default_agent_stays_deleted(tmp_path: Path) -> None:
    state = str(tmp_path / "foundry.db")
    path = "/agents/assistant?api-version=v1"
    async with running_emulator("--state", state) as first, client_of(first) as client:
        assert (await client.delete(first.project + path)).status_code == 200
    async with running_emulator("--state", state) as second, client_of(second) as client:
        assert (await client.get(second.project + path)).status_code == 404


async def test_sigterm_ends_it_cleanly_with_a_turn_running(tmp_path: Path) -> None:
    state = tmp_path / "foundry.db"
    async with running_emulator("--state", str(state)) as emulator, client_of(emulator) as client:
        slow = {"kind": "slow", "operation": "responses.create", "seconds": 60}
        await client.post(f"{emulator.origin}/_emulator/faults", json=slow)
        await client.post("responses", json=turn("hi", background=True))
        assert await emulator.stop() == 0
    with sqlite3.connect(state) as db:
        assert db.execute("SELECT status FROM responses").fetchall() == [("failed",)]
    db.close()


def started(*arguments: str, **environment: str) -> CompletedProcess[str]:
    """What `python -m local.foundry` says when it does not start."""
    return forking.run(
        "local.foundry", *arguments, environment={**os.environ, **environment}, seconds=30
    )


def test_a_busy_port_is_one_line(shared_emulator: Emulator) -> None:
    run = started("--port", str(shared_emulator.port))
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{shared_emulator.port}" in run.stderr


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("FOUNDRY_LOCAL_BACKEND", "gpt", "smollm2, scripted"),
        ("FOUNDRY_LOCAL_TOKEN_DELAY", "soon", "FOUNDRY_LOCAL_TOKEN_DELAY"),
    ],
)
def test_a_bad_setting_is_one_line(variable: str, value: str, named: str) -> None:
    run = started("--port", "0", **{variable: value})
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1)
    assert named in run.stderr


def test_a_broken_state_file_is_one_line(tmp_path: Path) -> None:
    state = tmp_path / "foundry.db"
    state.write_text("this is not a database, but long enough to look like one" * 20)
    run = started("--port", "0", "--state", str(state))
    assert (run.returncode, run.stderr.count("\n")) == (1, 1)
    assert str(state) in run.stderr


async def test_cancel_stops_a_background_response(
    raw: httpx.AsyncClient, inject: FaultInjector
) -> None:
    await inject("slow", seconds=30)
    started = (await raw.post("responses", json=turn("hi", background=True))).json()
    refused = await raw.delete(f"responses/{started['id']}")
    assert refused.status_code == 400
    cancelled = (await raw.post(f"responses/{started['id']}/cancel")).json()
    assert cancelled["status"] == "cancelled"
    again = await raw.post(f"responses/{started['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")
    stored = (await raw.get(f"responses/{started['id']}")).json()
    assert stored["status"] == "cancelled"


async def test_a_thousand_turns_at_once() -> None:
    slow_model = {"FOUNDRY_LOCAL_TOKEN_DELAY": "0.2"}
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        running_emulator(environment=slow_model) as emulator,
        aiohttp.ClientSession(connector=connector, headers=HEADERS) as session,
    ):

        async def status(_number: int) -> int:
            url = f"{emulator.openai}/responses"
            async with session.post(url, json=turn("/words 10")) as answer:
                await answer.read()
                return answer.status

        async with asyncio.timeout(30):  # answers of two seconds each must overlap
            answers = await asyncio.gather(*map(status, range(1_000)))
    assert set(answers) == {200}


async def test_resource_chain_of_the_api_key_caller(resource: httpx.AsyncClient) -> None:
    first = (await resource.post("responses", json=turn("My name is Ada."))).json()
    body = turn("What is my name?", previous_response_id=first["id"])
    assert text_of((await resource.post("responses", json=body)).json()) == "Your name is Ada."
    missing = await resource.post("conversations", json={"items": [message("x")]})
    assert missing.status_code == 404
