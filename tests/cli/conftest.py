"""`aos` against the app that tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from local.services import FunctionsHost
from tests.support.terminal import Aos


@pytest.fixture
async def admin(app: FunctionsHost) -> AsyncIterator[httpx.AsyncClient]:
    """The operator of the shared app."""
    async with httpx.AsyncClient(base_url=f"{app.url}/api/", timeout=30) as client:
        yield client


@pytest.fixture
async def key(admin: httpx.AsyncClient) -> str:
    """A client key of an owner of its own."""
    answer = await admin.post("keys", json={"label": "aos", "roles": ["Agents.Use"]})
    assert answer.status_code == 201, answer.text
    return answer.json()["key"]


@pytest.fixture
def aos(app: FunctionsHost, key: str, tmp_path: Path) -> Aos:
    """The command line of that owner."""
    return Aos(tmp_path, app.url, {"AOS_KEY": key})
