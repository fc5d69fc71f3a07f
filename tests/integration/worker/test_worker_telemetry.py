"""What Application Insights gets of real requests under the worker library: no query, no key."""

import json

import pytest

from local.services import ROOT, Azurite, FoundryEmulator
from tests.support.environments import DEPLOYED_VERSION, find_python, run, with_requirements
from tests.support.insights import Received, environment_for, insights
from tests.support.served import Deployment

__all__ = ["insights"]

SECRET = "apricot4711"
ROUTES = {
    "POST /api/threads",
    "GET /api/threads",
    "POST /api/threads/{thread_id}/messages",
    "GET /api/threads/{thread_id}",
}

pytestmark = pytest.mark.timeout(400)  # the first run installs the packages


def test_spans_carry_templates_and_nothing_that_callers_send(
    azurite: Azurite, foundry: FoundryEmulator, insights: Received
) -> None:
    python = find_python()
    if python is None:
        pytest.skip(f"there is no Python {DEPLOYED_VERSION} on PATH or among pyenv's versions")
    deployment = Deployment(azurite.connection_string, foundry)
    environment = {
        "PATH": "",
        **environment_for(insights),
        **deployment.environment(),
        "PYTHON_ENABLE_OPENTELEMETRY": "true",
    }
    driver = (
        with_requirements(python),
        "-m",
        "tests.support.worker.telemetry_driver",
        ROOT,
        SECRET,
    )
    done = run(*driver, environment=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [201, 200, 200, 404]
    assert insights.envelopes
    assert [each for each in insights.envelopes if SECRET in json.dumps(each)] == []
    requests = [e for e in insights.envelopes if e["data"]["baseType"] == "RequestData"]
    names = sorted(request["data"]["baseData"]["name"] for request in requests)
    assert names == sorted(ROUTES)
