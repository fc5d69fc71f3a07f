"""A caller of the app on fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from shared.app import Services
from tests.support.calling import caller


@pytest.fixture
async def api(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(services) as client:
        yield client
