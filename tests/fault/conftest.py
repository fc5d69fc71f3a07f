"""A laboratory on the emulator, and the managed identity that opens its project."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from local.services import IDENTITY_HEADER, FoundryEmulator
from tests.support.laboratory import Laboratory


@pytest.fixture(scope="session", autouse=True)
def managed_identity(foundry: FoundryEmulator) -> Iterator[None]:
    """The environment in which azure-identity finds the emulator's tokens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDENTITY_ENDPOINT", foundry.token_endpoint)
        patch.setenv("IDENTITY_HEADER", IDENTITY_HEADER)
        yield


@pytest.fixture
async def lab(foundry: FoundryEmulator) -> AsyncIterator[Laboratory]:
    """The emulator without faults and with an empty log."""
    async with httpx.AsyncClient(base_url=foundry.url, timeout=30) as http:
        (await http.delete("/_emulator/faults")).raise_for_status()
        (await http.delete("/_emulator/requests")).raise_for_status()
        laboratory = Laboratory(foundry, http)
        yield laboratory
        await laboratory.aclose()
        await http.delete("/_emulator/faults")
