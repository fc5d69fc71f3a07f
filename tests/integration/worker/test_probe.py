"""The probe app through the local host and through the worker library, beside the real host.

What the Functions host does with these was measured with its own router
(Microsoft.Azure.WebJobs.Extensions.Http 3.2.0).
"""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from local.services import Azurite, HostLaunch, functions_host
from tests.support.environments import DEPLOYED_VERSION, find_python, run, with_requirements
from tests.support.worker import probe

PROBE_APP = Path(probe.__file__).parent / "probe_app"
REAL_HOST = {
    "GET /api/items/7": {"function": "get_item", "params": {"id": "7"}},
    "GET /api/ITEMS/7/": {"function": "get_item", "params": {"id": "7"}},
    "GET /api/items/a%2Fb": {"function": "get_item", "params": {"id": "a%2Fb"}},
    "GET /api/items/search": {"function": "get_item", "params": {"id": "search"}},
    "POST /api/items/search": {"function": "rest", "params": {"path": "items/search"}},
    "PUT /api/items/7": {"function": "update_item", "params": {"id": "7"}},
    "GET /api/items//7": {"function": "rest", "params": {"path": "items//7"}},
    "GET /api": {"function": "rest", "params": {}},
    "GET /api//items/7": None,
    "PATCH /api/items/7": None,
    "TRACE /api/items/7": None,
}
"""By request, which function answers it with which parameters; None for 404."""

pytestmark = pytest.mark.timeout(400)  # the first run installs the packages


def test_the_local_host_answers_as_the_real_one(azurite: Azurite, tmp_path: Path) -> None:
    launch = HostLaunch(
        app_dir=PROBE_APP, environment={"AzureWebJobsStorage": azurite.connection_string}
    )
    answers: dict[str, object] = {}
    with functions_host(tmp_path, launch) as host, httpx.Client(base_url=host.url) as client:
        for request in REAL_HOST:
            method, path = request.split()
            answer = client.request(method, path)
            answers[request] = answer.json() if answer.status_code == 200 else None
        assert client.get("/api/items/a%00").status_code == 400
        log = host.log_path.read_text()
    assert answers == REAL_HOST
    assert "search_items can never be reached" in log
    assert "get_item and rest comes first" in log


def test_the_worker_library_gives_the_same_answers(azurite: Azurite) -> None:
    python = find_python()
    if python is None:
        pytest.skip(f"there is no Python {DEPLOYED_VERSION} on PATH or among pyenv's versions")
    environment = {"PATH": "", "AzureWebJobsStorage": azurite.connection_string}
    command = (with_requirements(python), "-m", "tests.support.worker.probe", PROBE_APP, *REAL_HOST)
    done = run(*command, environment=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == REAL_HOST
