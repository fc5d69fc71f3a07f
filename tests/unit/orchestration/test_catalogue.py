"""The models that can be asked, and why one cannot."""

from __future__ import annotations

from typing import Any

import pytest

from shared.config import AppSettings, FoundryAgentServiceConfig, ModelSettings, ModelType
from shared.config.spending import read_prices
from shared.openai.models import ModelNames
from shared.orchestration.breaker import FAILURES_TO_OPEN, Circuit
from shared.orchestration.catalogue import Catalogue, ModelEntry
from shared.orchestration.model_types import DEFAULT_ORDER, WHAT_TO_SET
from shared.turns.options import OptionLimits
from tests.support.app_on_fakes import at_project, at_resource

from .conftest import Build

FOUNDRY = ModelType.FOUNDRY_AGENT_SERVICE
VLLM = ModelSettings(vllm_server_url="http://localhost:1/v1", vllm_model="llama-8b")
PRICES = """{"currency": "EUR", "models": {"gpt-4.1": {"input": 2, "output": 8},
             "*": {"input": 1, "output": 1}}}"""


def catalogue(
    build: Build, foundry: FoundryAgentServiceConfig, models: ModelSettings | None = None
) -> Catalogue:
    settings = AppSettings(foundry=foundry, models=models or ModelSettings())
    router = build(foundry, settings.models).router
    limits = OptionLimits.of(settings)
    return Catalogue(router, settings, read_prices(PRICES), limits)


def entries(
    build: Build, foundry: FoundryAgentServiceConfig, models: ModelSettings | None = None
) -> dict[ModelType, ModelEntry]:
    return {each.model_type: each for each in catalogue(build, foundry, models).entries()}


async def test_every_type_is_listed_with_the_setting_it_needs(build: Build) -> None:
    found = entries(build, FoundryAgentServiceConfig())
    assert list(found)[: len(DEFAULT_ORDER)] == list(DEFAULT_ORDER)
    assert found.keys() == set(ModelType)
    for kind, entry in found.items():
        assert (entry.unavailable, entry.circuit) == (WHAT_TO_SET[kind], None)
    assert found[FOUNDRY].settings == ["FOUNDRY_AGENT_SERVICE_ENDPOINT"]
    assert found[ModelType.OPENAI].settings == ["OPENAI_API_KEY"]
    assert found[ModelType.SEMANTIC_KERNEL].settings == []


async def test_a_configured_model_says_what_it_takes_and_costs(build: Build) -> None:
    config = at_resource(model="llama-3.3-70b", allowed_models="gpt-4.1,llama-8b")
    found = entries(build, config, VLLM)
    foundry, vllm = found[FOUNDRY], found[ModelType.VLLM]
    assert (foundry.unavailable, foundry.circuit, foundry.has_threads) == (
        None,
        Circuit.CLOSED,
        True,
    )
    named = [(each.name, each.is_default, each.can_be_named) for each in foundry.models]
    assert named == [("llama-3.3-70b", True, False), ("gpt-4.1", False, True)]
    prices = [each.price.input if each.price else None for each in foundry.models]
    assert prices == [1, 2]
    assert [(each.name, each.can_be_named) for each in vllm.models] == [("llama-8b", True)]
    assert foundry.abilities
    assert vllm.abilities
    assert (foundry.abilities.tools, vllm.abilities.tools) == (True, False)


@pytest.mark.parametrize(
    ("settings", "takes"),
    [
        ({}, {"tools": True, "images": True, "response_format": False, "model": False}),
        ({"enable_foundry_tools": False}, {"tools": False, "sampling": False}),
    ],
)
async def test_an_agent_decides_what_belongs_to_it(
    build: Build, settings: dict[str, Any], takes: dict[str, bool]
) -> None:
    entry = entries(build, at_project(**settings))[FOUNDRY]
    assert (entry.agent_id, entry.models) == ("helper", ())
    assert {name: getattr(entry.abilities, name) for name in takes} == takes


async def test_an_open_circuit_says_when_to_ask_again(build: Build) -> None:
    listed = catalogue(build, at_resource())
    breaker = listed.router.models[FOUNDRY].breaker
    for _ in range(FAILURES_TO_OPEN):
        breaker.record(0, failed=True)
    entry = listed.entries()[0]
    assert (entry.circuit, entry.settings) == (Circuit.OPEN, [])
    assert entry.retry_after
    assert "failed 5 times in a row" in (entry.unavailable or "")


async def test_a_credential_that_is_missing_is_named(build: Build) -> None:
    config = at_resource(api_key="", enable_entra_agent_id=False)
    entry = entries(build, config)[FOUNDRY]
    assert "API key not configured" in (entry.unavailable or "")
    assert "FOUNDRY_AGENT_SERVICE_API_KEY" in entry.settings


async def test_a_name_that_an_answer_tells_can_be_asked_for_from_then_on(build: Build) -> None:
    vllm = ModelSettings(vllm_server_url="http://localhost:1/v1")
    found = catalogue(build, at_resource(), vllm)
    names = ModelNames(found)
    assert "llama-8b" not in names.targets(None)
    backend = found.router.models[ModelType.VLLM].backend
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(backend), "model", "llama-8b")
        assert names.find("llama-8b", None).kind is ModelType.VLLM
