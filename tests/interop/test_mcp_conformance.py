"""The official conformance suite of the Model Context Protocol, in both kinds of revisions.

What cannot pass is listed with its reason in `mcp/expected-failures.yaml`. A check
that fails and is not listed there, or passes and is, fails the test.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.services import Azurite, FoundryEmulator
from tests.support.environments import run
from tests.support.served import Deployment

from .environments import HERE, node

PACKAGE = "@modelcontextprotocol/conformance"
EXPECTED = HERE / "mcp/expected-failures.yaml"

pytestmark = pytest.mark.timeout(900)  # the first run installs the packages


@pytest.fixture(scope="module")
def address(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where an app answers without a key: the suite sends none."""
    deployment = Deployment(azurite.connection_string, foundry)
    with deployment.serve(tmp_path_factory.mktemp("conforming"), False) as host:
        yield f"{host.url}/api/mcp"


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
def test_the_app_conforms_to_a_revision(address: str, revision: str) -> None:
    command = node("mcp").command(PACKAGE, "conformance")
    asked = ("--requirements", revision, "--expected-failures", EXPECTED)
    done = run(*command, "server", "--url", address, *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Running requirements {revision}" in done.stdout
