"""Twenty conversations while their first model keeps failing in every way it knows.

`FLAPPING_SECONDS=60` makes it a torture run and `FLAPPING_HASTE=1` leaves the breaker its own time;
both models are emulators in processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle
from time import monotonic, perf_counter
from typing import Any, cast

import httpx
import pytest

from shared.config import FoundryAgentServiceConfig, IdentitySettings, ModelSettings, Preferences
from shared.foundry.models import TurnRequest
from shared.foundry.service import FoundryService
from shared.orchestration import ModelType
from shared.orchestration.backends import Model
from shared.orchestration.breaker import COOL_DOWN_SECONDS
from shared.orchestration.foundry_backend import FoundryBackend
from shared.orchestration.memory import MemoryTurns
from shared.orchestration.orchestrator import LOCAL_OWNER
from shared.orchestration.providers import ChatServers
from shared.orchestration.routing import Router
from shared.turns.command import AnsweredTurn, TurnCommand

from .conftest import API_KEY, TOKEN, Emulator, running_emulator

SECONDS = float(os.environ.get("FLAPPING_SECONDS", "12"))
CONVERSATIONS = 20
DEADLINE_SECONDS = 6.0
HASTE = float(os.environ.get("FLAPPING_HASTE", "20"))
"""The breaker's clock runs so much faster: a cool-down of 30 s is over in 1.5 s."""

FAULTS: list[dict[str, Any]] = [
    {"operation": "*", "kind": "status", "status": 503},
    {"operation": "responses.create", "kind": "work_then_drop"},
    {"operation": "*", "kind": "drop"},
    {"operation": "responses.create", "kind": "hang", "seconds": 60.0},
    {"operation": "responses.create", "kind": "work_then_status", "status": 502},
    {"operation": "responses.create", "kind": "status", "status": 429},
]
LEGAL = {
    ("closed", "open"),
    ("open", "half_open"),
    ("half_open", "open"),
    ("half_open", "closed"),
}


def hasty() -> float:
    return monotonic() * HASTE


def transitions(records: list[logging.LogRecord]) -> list[tuple[float, str, str]]:
    """When the breaker of Foundry went from what to what, in seconds of its clock."""
    found: list[tuple[float, str, str]] = []
    for record in records:
        if record.name == "shared.orchestration.breaker":
            name, new, old = cast("tuple[str, str, str]", record.args)
            if name == ModelType.FOUNDRY_AGENT_SERVICE:
                found.append((record.created * HASTE, old, new))
    return found


@dataclass
class Flapping:
    """The turns under test and the service that flaps."""

    turns: MemoryTurns
    primary: Emulator
    asked: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    answers: list[AnsweredTurn] = field(default_factory=list[AnsweredTurn])
    slowest: float = 0.0

    async def ask(self, conversation: str, text: str) -> AnsweredTurn:
        self.asked.setdefault(conversation, []).append(text)
        command = TurnCommand(
            LOCAL_OWNER,
            TurnRequest(text),
            DEADLINE_SECONDS,
            conversation_id=conversation,
            orchestrated=True,
            model_type=ModelType.FOUNDRY_AGENT_SERVICE,
        )
        started = perf_counter()
        answer = await self.turns.run(command)
        self.slowest = max(self.slowest, perf_counter() - started)
        self.answers.append(answer)
        return answer

    async def talk(self, conversation: str, until: float) -> None:
        """Ask until the time is over, a little while apart."""
        number = 0
        while monotonic() < until:
            answer = await self.ask(conversation, f"{conversation} message {number}")
            assert answer.result.content == f"You said: {conversation} message {number}"
            number += 1
            await asyncio.sleep(0.2)

    async def flap(self, until: float) -> None:
        """Let the primary fail and recover in turn, each time in another way."""
        async with httpx.AsyncClient(base_url=self.primary.origin) as control:
            for fault in cycle(FAULTS):
                (
                    await control.post("/_emulator/faults", json={**fault, "times": None})
                ).raise_for_status()
                await asyncio.sleep(1.2)
                (await control.delete("/_emulator/faults")).raise_for_status()
                if monotonic() > until:
                    return
                await asyncio.sleep(0.8)

    async def conversations(self) -> list[list[str]]:
        """The user messages of every conversation that stands in Foundry now."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        found: list[list[str]] = []
        async with httpx.AsyncClient(base_url=self.primary.openai + "/", headers=headers) as http:
            log = (await http.get(f"{self.primary.origin}/_emulator/requests")).json()["requests"]
            bodies = [entry["body"] for entry in log if entry["operation"] == "responses.create"]
            for name in {body["conversation"] for body in bodies if body}:
                page = await http.get(f"conversations/{name}/items?limit=100&order=asc")
                if page.status_code == httpx.codes.OK:
                    items = [i for i in page.json()["data"] if i.get("role") == "user"]
                    found.append([item["content"][0]["text"] for item in items])
        return found


@pytest.fixture
async def flapping(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Flapping]:
    async with AsyncExitStack() as stack:
        primary = await stack.enter_async_context(running_emulator())
        secondary = await stack.enter_async_context(running_emulator())
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{primary.origin}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "local-identity")
        identity = IdentitySettings.from_env()
        foundry = FoundryAgentServiceConfig(
            endpoint_url=primary.project, timeout=DEADLINE_SECONDS, max_retries=1
        )
        models = ModelSettings(
            vllm_server_url=f"{secondary.origin}/openai/v1", vllm_api_key=API_KEY
        )
        backends = [
            FoundryBackend(FoundryService(foundry, identity)),
            *ChatServers(models, foundry, identity).backends(),
        ]
        router = Router(
            [Model.of(backend, hasty) for backend in backends],
            Preferences(),
            patience=foundry.timeout,
        )
        yield Flapping(MemoryTurns(router), primary)
        await router.aclose()


@pytest.mark.timeout(SECONDS + 60)
async def test_a_flapping_model_fails_no_request(
    flapping: Flapping, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    until = monotonic() + SECONDS
    names = [f"c{number}" for number in range(CONVERSATIONS)]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(flapping.flap(until))
        for name in names:
            tasks.create_task(flapping.talk(name, until))
    await asyncio.sleep(COOL_DOWN_SECONDS / HASTE)
    ends = [await flapping.ask(name, "/history") for name in names]

    seen = transitions(caplog.records)
    sources = Counter(str(answer.source) for answer in flapping.answers)
    steps = Counter(f"{old} -> {new}" for _, old, new in seen)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(flapping.answers)} turns in {SECONDS:.0f} s, none failed, the slowest took "
            f"{flapping.slowest:.2f} of {DEADLINE_SECONDS:.0f} s; {dict(sources)}; {dict(steps)}\n"
        )
    assert flapping.slowest < DEADLINE_SECONDS
    assert sources.keys() == {"foundry_agent_service", "vllm"}
    for name, end in zip(names, ends, strict=True):
        assert json.loads(end.result.content) == flapping.asked[name]
    standing = await flapping.conversations()
    assert len(standing) >= CONVERSATIONS
    for messages in standing:
        assert len(messages) == len(set(messages)), messages
    assert_as_specified(seen)


def assert_as_specified(seen: list[tuple[float, str, str]]) -> None:
    """The breaker begins closed, takes only legal steps, and rests for its cool-down."""
    assert {(old, new) for _, old, new in seen} <= LEGAL
    state, opened_at = "closed", 0.0
    for at, old, new in seen:
        assert old == state
        if new == "half_open":
            assert at - opened_at >= COOL_DOWN_SECONDS - 1.0
        if new == "open":
            opened_at = at
        state = new
    assert ("closed", "open") in {(old, new) for _, old, new in seen}
    assert ("half_open", "closed") in {(old, new) for _, old, new in seen}
