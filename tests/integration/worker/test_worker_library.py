"""The app indexes and serves under `azure-functions-runtime` on Python 3.13."""

import json
from typing import Any

import pytest

from local.services import ROOT, Azurite, FoundryEmulator
from shared.routes import ROUTES
from tests.support.environments import DEPLOYED_VERSION, find_python, run, with_requirements
from tests.support.served import Deployment

INLET, LANES, DELIVERIES = "worker-jobs", "worker-lanes", "worker-deliveries"
FUNCTIONS = {
    **{each.name: f"{','.join(each.methods)} {each.template}" for each in ROUTES},
    "z_unmatched_sorts_last": "GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS api/{*path}",
    "receive_job": f"queue {INLET}",
    "fail_job": f"queue {INLET}-poison",
    "run_lane": f"queue {LANES}",
    "fail_lane": f"queue {LANES}-poison",
    "sweep_lanes": "timer 0 * * * * *",
    "deliver_result": f"queue {DELIVERIES}",
    "fail_delivery": f"queue {DELIVERIES}-poison",
    "sweep_deliveries": "timer 20 */5 * * * *",
    "expire_threads": "timer 0 * * * * *",
    "delete_old_records": "timer 40 15 * * * *",
    "roll_up_metrics": "timer 10 45 * * * *",
}

pytestmark = pytest.mark.timeout(400)  # the first run installs the packages


@pytest.fixture(scope="module")
def report(azurite: Azurite, foundry: FoundryEmulator) -> Any:
    """What the driver saw."""
    python = find_python()
    if python is None:
        pytest.skip(f"there is no Python {DEPLOYED_VERSION} on PATH or among pyenv's versions")
    queues = {"intake": INLET, "lanes": LANES, "deliveries": DELIVERIES}
    deployment = Deployment(azurite.connection_string, foundry, **queues)
    environment = {"PATH": "", **deployment.environment()}
    driver = (with_requirements(python), "-m", "tests.support.worker.driver", ROOT)
    done = run(*driver, environment=environment)
    assert done.returncode == 0, done.stderr
    *printed, report = done.stdout.splitlines()
    return {**json.loads(report), "printed": [*printed, *done.stderr.splitlines()]}


def test_every_function_is_indexed_with_its_trigger(report: Any) -> None:
    assert report["python"] == [3, 13]
    triggers = {name: bindings[0] for name, bindings in report["bindings"].items()}
    found = {name: _address(trigger) for name, trigger in triggers.items()}
    assert found == FUNCTIONS


def _address(trigger: Any) -> str:
    if trigger["type"] == "queueTrigger":
        return f"queue {trigger['queueName']}"
    if trigger["type"] == "timerTrigger":
        return f"timer {trigger['schedule']}"
    return f"{','.join(trigger['methods'])} {trigger['route']}"


def test_streaming_is_on(report: Any) -> None:
    assert report["capabilities"]["HttpUri"].startswith("http://")
    assert report["capabilities"]["RequiresRouteParameters"] == "true"


def test_http_functions_answer(report: Any) -> None:
    answers = report["http"]
    statuses = {name: answer["status"] for name, answer in answers.items()}
    assert statuses == {
        "health": 200,
        "message": 200,
        "thread": 201,
        "first": 200,
        "second": 200,
        "read": 200,
        "unknown": 404,
        "line_break": 404,
        "controls": 404,
        "slashes": 404,
    }
    assert answers["message"]["body"]["content"] == "You said: Hello"
    assert answers["second"]["body"]["content"] == "Your name is Ada."
    assert answers["read"]["body"]["message_count"] == 2
    for name in ("unknown", "line_break", "controls", "slashes"):
        assert answers[name]["type"] == "application/problem+json"


def test_nothing_printed_names_an_address(report: Any) -> None:
    """The host logs what its worker prints."""
    assert [line for line in report["printed"] if "HTTP/1.1" in line] == []


def test_queue_functions_run_a_job(report: Any) -> None:
    job = report["job"]
    assert job["status"] == "succeeded", job
    assert [result["content"] for result in job["results"]][1] == "Your name is Bo."


def test_the_workers_own_pages_answer_without_an_invocation(report: Any) -> None:
    assert set(report["own_pages"].values()) == {200}
    assert report["fitting"] == []
