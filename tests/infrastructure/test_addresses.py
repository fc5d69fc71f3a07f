"""One table of addresses: the app's own routes, App Service authentication, the gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from shared.console.pages import STATIC
from shared.http.static_files import StaticFolder

from .project import GUID, ROOT, Deployment, Project, mutated

GATEWAY = "Microsoft.ApiManagement/service"
REGISTRATION = "Microsoft.Graph/applications"
OWN = "99999999-0000-0000-0000-000000000009"
CATCH_ALL = "*path}"

LIST_ROUTES = """
import json, function_app
rows = []
for function in function_app.app.get_functions():
    trigger = json.loads(str(function))["bindings"][0]
    if trigger["type"] == "httpTrigger":
        level, methods = trigger["authLevel"], trigger["methods"]
        rows.append([trigger["route"], [str(m) for m in methods], str(level)])
print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def routes() -> list[tuple[str, set[str], bool]]:
    """Each route of the app as callers write it, its methods, and whether it takes no key."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "FOUNDRY_AGENT_SERVICE_ENDPOINT": "https://acme.services.ai.azure.com/api/projects/p",
    }
    done = subprocess.run(  # noqa: S603 (a fixed command)
        [sys.executable, "-c", LIST_ROUTES],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    prefix = json.loads((ROOT / "host.json").read_text())["extensions"]["http"]["routePrefix"]
    start = f"/{prefix}/" if prefix else "/"
    return [
        (start + route, {m.upper() for m in methods}, level.upper() == "ANONYMOUS")
        for route, methods, level in json.loads(done.stdout.splitlines()[-1])
    ]


def _public(routes: list[tuple[str, set[str], bool]]) -> set[str]:
    """The open addresses, with a file of the console in place of each template of them."""
    paths = {path for path, _, is_open in routes if is_open and CATCH_ALL not in path}
    files = {f"/console/{name}" for name in StaticFolder.read(STATIC).files}
    return {path for path in paths if "{" not in path} | files - {"/console/index.html"}


def _excluded(deployment: Deployment) -> list[str]:
    (config,) = deployment.of_type("Microsoft.Web/sites/config")
    paths: list[str] = config.properties["globalValidation"]["excludedPaths"]
    return paths


def test_only_the_public_routes_take_no_token(
    project: Project, routes: list[tuple[str, set[str], bool]]
) -> None:
    excluded = _excluded(project.deployments["everything"])
    assert len(routes) > 15
    assert set(excluded) == _public(routes), "change infra/addresses.json"
    assert len(excluded) == len(set(excluded))


def test_every_route_and_method_is_behind_the_gateway(
    project: Project, routes: list[tuple[str, set[str], bool]]
) -> None:
    operations = [
        operation.properties
        for operation in project.deployments["everything"].of_type(f"{GATEWAY}/apis/operations")
    ]
    everywhere = {o["method"] for o in operations if o["urlTemplate"] == "/*"}
    assert everywhere >= {method for _, methods, _ in routes for method in methods}
    (api,) = project.deployments["everything"].of_type(f"{GATEWAY}/apis")
    (backend,) = project.deployments["everything"].of_type(f"{GATEWAY}/backends")
    assert api.properties["path"] == ""
    assert backend.properties["url"].endswith(".defaultHostName)]")  # the app itself, from its root
    openly = {(o["method"], o["urlTemplate"]) for o in operations if o["urlTemplate"] != "/*"}
    without_token = {p for p in _public(routes) if not p.startswith("/console")}
    assert openly == {(m, path) for path in without_token for m in ("GET", "HEAD")}
    names = [
        o.name for o in project.deployments["everything"].of_type(f"{GATEWAY}/apis/operations")
    ]
    assert len(set(names)) == len(names)


def test_public_operations_alone_need_no_token(project: Project) -> None:
    for type_, checks in (("apis/policies", True), ("apis/operations/policies", False)):
        policies = project.deployments["gateway"].of_type(f"{GATEWAY}/{type_}")
        assert policies
        for policy in policies:
            root = ET.fromstring(policy.properties["value"])  # noqa: S314 (our own file)
            inbound = root.find("inbound")
            assert inbound is not None
            assert (inbound.find("validate-azure-ad-token") is not None) is checks
            assert (inbound.find("base") is not None) is checks


def test_streams_pass_the_gateway_as_they_come(project: Project) -> None:
    (policy,) = project.deployments["gateway"].of_type(f"{GATEWAY}/apis/policies")
    root = ET.fromstring(policy.properties["value"])  # noqa: S314 (our own file)
    forward = root.find("backend/forward-request")
    assert forward is not None
    assert forward.attrib["buffer-response"] == "false"


def test_an_openai_face_is_counted_by_the_gateway_itself(
    routes: list[tuple[str, set[str], bool]],
) -> None:
    """`llm-token-limit` sees what streams use, and knows the form of that face alone."""
    policy = (ROOT / "infra/modules/gateway-policy.xml").read_text()
    has_face = any(path.endswith("/v1/chat/completions") for path, _, _ in routes)
    assert ("<llm-token-limit" in policy) is has_face


def test_an_address_too_many_is_found(
    project: Project, routes: list[tuple[str, set[str], bool]], tmp_path: Path
) -> None:
    changed = mutated(
        project, tmp_path, "infra/addresses.json", '"/api/health"', '"/api/health", "/api/usage"'
    )
    assert set(_excluded(changed.deployments["everything"])) - _public(routes) == {"/api/usage"}


def test_the_console_is_open_only_where_it_is_on(project: Project) -> None:
    entra = project.deployments["Entra, new registration"]
    assert not [path for path in _excluded(entra) if path.startswith("/console")]


def test_people_can_sign_in_to_the_console_only_where_it_is_on(project: Project) -> None:
    (without,) = project.deployments["Entra, new registration"].of_type(REGISTRATION)
    assert without.properties["web"]["redirectUris"] == []
    assert not without.properties["web"]["implicitGrantSettings"]["enableIdTokenIssuance"]
    (registration,) = project.deployments["everything"].of_type(REGISTRATION)
    (address,) = registration.properties["web"]["redirectUris"]
    assert address.startswith("https://func-")
    assert address.endswith(".azurewebsites.net/.auth/login/aad/callback")
    assert registration.properties["web"]["implicitGrantSettings"]["enableIdTokenIssuance"]


def test_a_list_of_clients_has_the_app_itself_where_people_sign_in_to_it(project: Project) -> None:
    environment = {"ENTRA_AUTH_ENABLED": "true", "ENTRA_APP_CLIENT_ID": OWN, "CONSOLE": "on"}
    deployed = project.deploy({**environment, "ALLOWED_CLIENT_IDS": GUID})
    assert deployed.settings()["AUTH_CLIENT_IDS"] == f"{GUID},{OWN}"
    (config,) = deployed.of_type("Microsoft.Web/sites/config")
    directory = config.properties["identityProviders"]["azureActiveDirectory"]
    policy = directory["validation"]["defaultAuthorizationPolicy"]
    assert policy == {"allowedApplications": [GUID, OWN]}
