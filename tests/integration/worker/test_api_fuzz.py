"""Schemathesis holds the app to its document, behind Microsoft's worker library.

`API_FUZZ_EXAMPLES` says how many requests are tried for each operation; `API_FUZZ_SEED` repeats a
run.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from local.services import Azurite, FoundryEmulator
from tests.support.api_fuzz import (
    OWNERS,
    Fuzzing,
    behind_the_worker_library,
    every_model,
    fuzz,
)
from tests.support.client_keys import new_key
from tests.support.environments import DEPLOYED_VERSION, find_python, with_requirements
from tests.support.served import Deployment

EXAMPLES = int(os.environ.get("API_FUZZ_EXAMPLES") or 3)
SEED = int(os.environ.get("API_FUZZ_SEED") or 1)
"""`make torture` draws it."""
PHASES = os.environ.get("API_FUZZ_PHASES") or "examples,fuzzing,stateful"
"""`make torture` adds `coverage`: some 1,800 requests at the edges of every schema."""
OF_ADMINS = ("Keys", "Usage", "Audit")
"""What admins may do more: manage keys, and read what is of every owner."""
SECONDS = 300 + 6 * EXAMPLES
"""Four times what a busy machine takes."""

pytestmark = pytest.mark.timeout(400 + 2 * SECONDS)  # the first run installs the packages


def test_no_request_gets_an_answer_that_is_not_declared(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path: Path
) -> None:
    python = find_python()
    if python is None:
        pytest.skip(f"there is no Python {DEPLOYED_VERSION} on PATH or among pyenv's versions")
    python = with_requirements(python)
    deployment = Deployment(azurite.connection_string, foundry)
    environment = {"PATH": "", **deployment.environment(AUTH_MODE="keys", **every_model(foundry))}
    keys = {owner: new_key(environment, owner, python=python) for owner in OWNERS}
    admin = {"admin": new_key(environment, "admin", "--admin", python=python)}
    with behind_the_worker_library(python, environment, tmp_path) as url:
        how = Fuzzing(EXAMPLES, SEED, PHASES, SECONDS)
        report = fuzz(url, keys, tmp_path / "owners", how)
        # a revoked key stays readable: who used it remains on record
        how = replace(how, tags=OF_ADMINS, excluded_checks=("use_after_free",))
        report += fuzz(url, admin, tmp_path / "admin", how)
    print(report)  # noqa: T201 - `make torture` shows it
