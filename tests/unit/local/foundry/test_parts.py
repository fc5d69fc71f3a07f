"""Parts of the emulator that a client sees only in passing."""

import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.foundry import EmulatorSettings, create_app
from local.foundry.cut import ConnectionCutError
from local.foundry.faults import Fault, FaultKind, FaultPlan
from local.foundry.rate import RateWindow
from local.foundry.settings import from_environment
from local.foundry.store import PageRequest, Store, UnknownCursorError
from local.model import ScriptedModel, open_model


def ids(store: Store, **page: object) -> list[str]:
    request = PageRequest(**page)  # pyright: ignore[reportArgumentType]
    return [row["id"] for row in store.page("items", request, {"conversation_id": "c"}).rows]


def test_pages_begin_and_end_where_asked() -> None:
    store = Store(None)
    store.add_items("c", [{"id": str(n), "type": "message"} for n in range(6)])
    assert ids(store, limit=2) == ["5", "4"]
    assert ids(store, limit=2, after="4") == ["3", "2"]
    assert ids(store, limit=2, order="asc", after="1") == ["2", "3"]
    assert ids(store, limit=2, order="asc", before="4") == ["2", "3"]
    assert ids(store, limit=2, before="2") == ["4", "3"]
    assert ids(store, order="asc", after="1", before="4") == ["2", "3"]
    with pytest.raises(UnknownCursorError):
        ids(store, after="nine")
    assert store.page("items", PageRequest(limit=6), {}).has_more is False
    store.close()


def test_faults_strike_in_order_and_by_chance() -> None:
    plan = FaultPlan(random.Random(7))  # noqa: S311 - a fixed seed
    plan.add(Fault(kind=FaultKind.DROP, operation="a", times=1))
    plan.add(Fault(kind=FaultKind.HANG, times=None, probability=0.25))
    struck = [plan.take("a", {}) for _ in range(1_000)]
    assert struck[0] is not None
    assert struck[0].kind is FaultKind.DROP
    assert 200 < sum(fault is not None for fault in struck[1:]) < 300
    plan.clear()
    assert plan.take("a", {}) is None


def test_the_rate_window_starts_again_each_minute() -> None:
    now = [120.0]
    window = RateWindow(lambda: now[0])
    remaining = "x-ratelimit-remaining-requests"
    assert [window.headers("m")[remaining] for _ in range(2)] == ["999", "998"]
    now[0] = 180.0
    assert window.headers("m")[remaining] == "999"


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    variables = {
        "FOUNDRY_LOCAL_BACKEND": "http://localhost:11434/v1",
        "FOUNDRY_LOCAL_BACKEND_MODEL": "llama",
        "FOUNDRY_LOCAL_TOKENS": "a, b",
    }
    settings = from_environment("p", tmp_path / "s.db", variables)
    assert settings.backend.backend == "http://localhost:11434/v1"
    assert settings.backend.model == "llama"
    assert settings.tokens == {"a", "b"}
    assert settings.api_keys == EmulatorSettings().api_keys
    with pytest.raises(ValueError, match="FOUNDRY_LOCAL_TOKEN_DELAY"):
        from_environment("p", None, {"FOUNDRY_LOCAL_TOKEN_DELAY": "soon"})


async def test_an_unknown_backend_is_refused() -> None:
    settings = from_environment("p", None, {"FOUNDRY_LOCAL_BACKEND": "gpt"})
    with pytest.raises(ValueError, match="smollm2, scripted"):
        await open_model(settings.backend)


async def test_it_also_runs_in_process() -> None:
    app = create_app(EmulatorSettings(), ScriptedModel())
    transport = httpx.ASGITransport(app)
    base = "http://emulator/api/projects/local/openai/v1"
    headers = {"authorization": "Bearer local-token"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=base, headers=headers) as client,
    ):
        body: dict[str, Any] = {"model": "llama-3.3-70b", "input": []}
        assert (await client.post("/responses", json=body)).status_code == 200
        await client.post("http://emulator/_emulator/faults", json={"kind": "drop"})
        with pytest.raises(ConnectionCutError):
            await client.get("/conversations")
