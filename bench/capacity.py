"""How the app behaves when it is asked for 40 % more than its services allow, for ten minutes.

`python -m bench.capacity` simulates it on a clock that skips all waiting, with the app's own code
on 200 instances; `--small` takes seconds. One line for each scarce service: what was asked and
done, how much of the limit was used, how many requests were refused for each taken one, the most
refusals in a second, and how long the rest took. It exits with 1 if an accepted job is lost.
"""

from __future__ import annotations

import json
import logging
import random
import sys
from typing import Any

from . import virtual_time

PLENTY = 1e9
OVERLOAD = 1.4
TRANSACTIONS_OF_A_TURN = 4.1
"""On average, of a message and a job by turns, which instances run that take turns."""


def scenarios(*, small: bool) -> list[dict[str, Any]]:
    """What is scarce, and how many turns a second are asked for."""
    turns, transactions = (4.0, 60.0) if small else (10.0, 60.0)
    plenty = {"turns": PLENTY, "transactions": PLENTY, "entities": PLENTY}
    of_storage = transactions / TRANSACTIONS_OF_A_TURN
    quota = {"name": "model", "turns": turns, "asked": turns * OVERLOAD}
    storage = {"name": "storage", "transactions": transactions, "asked": of_storage * OVERLOAD}
    if small:
        quota |= {"instances": 16, "seconds": 40.0}
        storage |= {"instances": 8, "seconds": 14.0}
    return [{**plenty, **quota}, {**plenty, **storage}]


def simulated(scenario: dict[str, Any]) -> dict[str, Any]:
    """The result of a scenario."""
    from .overload import Overload, Scenario

    async def run() -> tuple[Overload, float]:
        overload = Overload(Scenario(**scenario))
        return overload, await overload.run()

    overload, drained = virtual_time.run(run())
    is_model, seconds = scenario["name"] == "model", int(scenario["seconds"])
    service = overload.model if is_model else overload.storage
    limit = scenario["turns"] if is_model else scenario["transactions"]
    halves = [
        sum(service.taken[second] for second in part) / (len(part) * limit)
        for part in (range(seconds // 2), range(seconds // 2, seconds))
    ]
    taken, refused = sum(service.taken.values()), sum(service.refused.values())
    return {
        "scarce": scenario["name"],
        "instances": scenario["instances"],
        "asked": round(scenario["asked"], 1),
        "limit": limit,
        "used_in_first_half": round(halves[0], 2),
        "used_in_second_half": round(halves[1], 2),
        "refused_for_each_taken": round(refused / taken, 2),
        "most_refused_in_a_second": max(service.refused.values(), default=0),
        "jobs_accepted": len(overload.accepted),
        "jobs_succeeded": overload.succeeded,
        "jobs_waiting": overload.boxes,
        "callers": dict(overload.outcomes),
        "drained_after_seconds": round(drained),
    }


def main() -> int:
    """Print a line for each scenario."""
    virtual_time.start()  # before the app is imported
    logging.disable(logging.CRITICAL)
    random.seed(1)  # of the app's own jitter
    lost = 0
    for scenario in scenarios(small="--small" in sys.argv):
        result = simulated({"instances": 200, "seconds": 600.0, **scenario})
        lost += result["jobs_accepted"] - result["jobs_succeeded"]
        print(json.dumps(result), flush=True)
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
