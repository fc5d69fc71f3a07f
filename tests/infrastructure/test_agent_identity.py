"""The agent identity script against a directory on loopback."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.scripts.directory import Provisioned, Provisioner, Wanted
from infra.scripts.graph import Graph, GraphError, Patience

from .fake_graph import TOKEN, Directory, fake_graph
from .project import ROOT

WANTED = Wanted(
    name="func-o'app",
    tenant_id="the-tenant",
    managed_identity_principal_id="The-Principal",
    sponsor_id="a-person",
)
CREDENTIAL = {
    "name": "app-managed-identity",
    "issuer": "https://login.microsoftonline.com/the-tenant/v2.0",
    "subject": "The-Principal",
    "audiences": ["api://AzureADTokenExchange"],
}


@pytest.fixture
def directory() -> Iterator[Directory]:
    with fake_graph() as directory:
        yield directory


class Run:
    """One run of the script's work, with the pauses it wanted."""

    def __init__(self, directory: Directory, wanted: Wanted = WANTED) -> None:
        self.directory = directory
        self.wanted = wanted
        self.said: list[str] = []
        self.pauses: list[float] = []

    def __call__(self, *, dry_run: bool = False, delete: bool = False) -> Provisioned | None:
        patience = Patience(300, self.pauses.append, lambda: sum(self.pauses))
        with Graph(self.directory.url, lambda: TOKEN, patience) as graph:
            work = Provisioner(graph, self.wanted, dry_run=dry_run, say=self.said.append)
            return work.delete() if delete else work.provision()


def test_it_makes_what_an_agent_identity_needs(directory: Directory) -> None:
    made = Run(directory)()
    blueprint, identity = directory.blueprints[0], directory.identities[0]
    cast = f"/applications/{blueprint['id']}/microsoft.graph.agentIdentityBlueprint"
    assert directory.writes == [
        "POST /applications/microsoft.graph.agentIdentityBlueprint",
        "POST /servicePrincipals/microsoft.graph.agentIdentityBlueprintPrincipal",
        f"POST {cast}/federatedIdentityCredentials",
        "POST /servicePrincipals/microsoft.graph.agentIdentity",
    ]
    sent = [body for method, _, body in directory.calls if method == "POST"]
    sponsored = {
        "displayName": "func-o'app",
        "sponsors@odata.bind": [f"{directory.url}/users/a-person"],
    }
    assert sent == [
        sponsored,
        {"appId": blueprint["appId"]},
        CREDENTIAL,
        {**sponsored, "agentIdentityBlueprintId": blueprint["appId"]},
    ]
    assert made == Provisioned(blueprint["appId"], identity["id"], identity["id"])


def test_a_second_run_changes_nothing(directory: Directory) -> None:
    first = Run(directory)()
    for other in range(5):  # the agent identity is not on the first page
        directory.identities.insert(0, {"id": str(other), "displayName": "func-o'app"})
    directory.calls.clear()
    assert Run(directory)() == first
    assert directory.writes == []


def test_it_goes_on_where_an_earlier_run_stopped(directory: Directory) -> None:
    Run(directory)()
    directory.identities.clear()
    directory.credentials[0]["subject"] = "another-identity"
    directory.calls.clear()
    Run(directory)()
    assert [call.split()[0] for call in directory.writes] == ["PATCH", "POST"]
    assert {key: directory.credentials[0][key] for key in CREDENTIAL} == CREDENTIAL


def test_a_dry_run_only_reads(directory: Directory) -> None:
    run = Run(directory)
    assert run(dry_run=True) is None
    assert directory.writes == []
    assert "would make the blueprint" in run.said[0]


def test_it_waits_for_the_directory_to_know_what_it_made(directory: Directory) -> None:
    directory.lag = 4
    run = Run(directory)
    assert run() is not None
    assert run.pauses == [2, 4, 8, 16]
    assert len(directory.identities) == len(directory.credentials) == 1


def test_it_gives_up_in_time(directory: Directory) -> None:
    directory.lag = 1000
    run = Run(directory)
    with pytest.raises(GraphError, match=r"still fails: HTTP 404.*Run the command again"):
        run()
    assert sum(run.pauses) <= 300


def test_it_retries_when_graph_is_busy(directory: Directory) -> None:
    busy = {"error": {"code": "TooManyRequests", "message": "Later"}}
    directory.failures = [(429, busy), (503, busy), (500, busy)]
    assert Run(directory)() is not None
    assert len(directory.blueprints) == 1


def test_it_does_not_repeat_a_creation_that_may_have_worked(directory: Directory) -> None:
    directory.failures = [
        (200, {"value": []}),
        (502, {"error": {"code": "BadGateway", "message": "Cut"}}),
    ]
    with pytest.raises(GraphError, match="may have been done or not: run the command again"):
        Run(directory)()
    assert len(directory.writes) == 1


def test_a_refusal_says_what_is_missing(directory: Directory) -> None:
    directory.failures = [
        (403, {"error": {"code": "Authorization_RequestDenied", "message": "No"}})
    ]
    with pytest.raises(GraphError, match=r"Agent ID Developer.*device-code") as caught:
        Run(directory)()
    assert "a-request" in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_two_blueprints_of_one_name_are_not_guessed_between(directory: Directory) -> None:
    directory.blueprints = [{"id": i, "appId": i, "displayName": "func-o'app"} for i in ("a", "b")]
    with pytest.raises(GraphError, match=r"--blueprint-client-id \(a, b\)"):
        Run(directory)()


def test_a_blueprint_is_taken_by_its_id(directory: Directory) -> None:
    directory.blueprints = [{"id": i, "appId": i, "displayName": "func-o'app"} for i in ("a", "b")]
    wanted = Wanted(**{**vars(WANTED), "blueprint_client_id": "b"})
    made = Run(directory, wanted)()
    assert made is not None
    assert made.blueprint_client_id == "b"


def test_it_deletes_what_it_made(directory: Directory) -> None:
    Run(directory)()
    Run(directory)(delete=True)
    assert (directory.identities, directory.blueprints) == ([], [])
    run = Run(directory)
    run(delete=True)
    assert run.said == ["there is no blueprint func-o'app"]


# ---- as azd runs it --------------------------------------------------------------------------


def _hook(
    directory: Directory, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the hook with a stand-in for azd that notes how it is called."""
    azd = folder / "azd"
    azd.write_text(f'#!/bin/sh\necho "$@" >> {folder}/azd.log\n')
    azd.chmod(azd.stat().st_mode | stat.S_IXUSR)
    inside_azd = {
        "FUNCTION_APP_NAME": "func-app",
        "AZURE_TENANT_ID": "the-tenant",
        "AZURE_PRINCIPAL_ID": "a-person",
        "MANAGED_IDENTITY_PRINCIPAL_ID": "The-Principal",
        "GRAPH_URL": directory.url,
        "AGENT_IDENTITY_SIGN_IN": "token",
        "GRAPH_ACCESS_TOKEN": TOKEN,
    }
    return subprocess.run(
        [sys.executable, "-m", "infra.scripts.postprovision"],
        env={"PATH": f"{folder}:{os.environ['PATH']}", **inside_azd, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_hook_does_nothing_unless_asked(directory: Directory, tmp_path: Path) -> None:
    done = _hook(directory, tmp_path)
    assert (done.returncode, directory.calls) == (0, [])


def test_the_hook_keeps_the_ids_in_the_azd_environment(
    directory: Directory, tmp_path: Path
) -> None:
    done = _hook(directory, tmp_path, AGENT_IDENTITY_ENABLED="true")
    assert done.returncode == 0, done.stderr
    assert "azd provision" in done.stderr
    app_id, identity = directory.blueprints[0]["appId"], directory.identities[0]["id"]
    assert (tmp_path / "azd.log").read_text().splitlines() == [
        f"env set FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID {app_id}",
        f"env set FOUNDRY_AGENT_IDENTITY_CLIENT_ID {identity}",
        f"env set AGENT_IDENTITY_PRINCIPAL_ID {identity}",
    ]


def test_the_hook_fails_with_one_line(directory: Directory, tmp_path: Path) -> None:
    done = _hook(directory, tmp_path, AGENT_IDENTITY_ENABLED="true", GRAPH_ACCESS_TOKEN="other")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "InvalidAuthenticationToken" in done.stderr


def test_the_hook_names_what_it_misses(directory: Directory, tmp_path: Path) -> None:
    done = _hook(directory, tmp_path, AGENT_IDENTITY_ENABLED="true", AZURE_PRINCIPAL_ID="")
    assert done.returncode == 2
    assert "--sponsor-id" in done.stderr
