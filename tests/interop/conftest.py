"""One app for all clients, a key, and a key whose budget is used up."""

import json
import os
from collections.abc import Iterator

import httpx
import pytest

from local.services import Azurite, FoundryEmulator
from tests.support.client_keys import bearer, new_key
from tests.support.served import Deployment

ONE_REQUEST = json.dumps([{"requests": 1, "per": "month"}])


@pytest.fixture(scope="session")
def access(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The environment of a script: the address of the app, and keys."""
    deployment = Deployment(azurite.connection_string, foundry)
    settings = {**os.environ, **deployment.environment(AUTH_MODE="keys")}
    key, poor = (
        new_key(settings, *more) for more in (("rich",), ("poor", "--budgets", ONE_REQUEST))
    )
    with deployment.serve(tmp_path_factory.mktemp("interop"), False, AUTH_MODE="keys") as host:
        url = f"{host.url}/api"
        first = httpx.post(
            f"{url}/messages", json={"message": "Hi"}, headers=bearer(poor), timeout=60
        )
        assert first.status_code == 200, first.text
        yield {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path_factory.mktemp("home")),
            "BASE_URL": f"{url}/v1",
            "KEY": key,
            "POOR_KEY": poor,
        }
