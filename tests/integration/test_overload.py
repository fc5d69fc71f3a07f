"""The app asked for 40 % more than the model or storage allows, simulated in a process of its own.

`bench/capacity.py` is the simulation; `python -m bench.capacity` runs it with 200 instances.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.support.environments import run

SCARCE = ["model", "storage"]
FULLY_USED = 0.9
"""Of a limit, at least: less would be work that is lost to repeating."""

MOST_REFUSED = 1.5
"""Requests for each that was taken: each is repeated a few times, at growing intervals."""

DRAINED_SECONDS = 300.0


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    """What came of each scenario."""
    done = run(sys.executable, "-m", "bench.capacity", "--small")
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {each["scarce"]: each for each in found}


@pytest.mark.parametrize("scarce", SCARCE)
def test_an_overload_is_worked_off(results: dict[str, dict[str, Any]], scarce: str) -> None:
    result = results[scarce]
    assert result["used_in_first_half"] >= FULLY_USED  # throughput stays at the limit
    assert result["used_in_second_half"] >= FULLY_USED
    assert result["refused_for_each_taken"] <= MOST_REFUSED  # no storm of repeated requests
    assert result["jobs_accepted"] > 0
    assert result["jobs_succeeded"] == result["jobs_accepted"]  # nothing is lost
    assert result["jobs_waiting"] == 0  # everything is worked off
    assert result["drained_after_seconds"] <= DRAINED_SECONDS


def test_no_instance_sends_all_that_waited_to_a_used_up_quota(
    results: dict[str, dict[str, Any]],
) -> None:
    result = results["model"]
    assert result["most_refused_in_a_second"] <= 1.5 * result["instances"]
