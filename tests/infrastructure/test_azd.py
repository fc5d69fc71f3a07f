"""azure.yaml, the workflows and the other files that azd, GitHub and Azure read."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.scripts.github_environment import environment_file
from infra.scripts.postprovision import vaults_to_open
from tests.support.environments import DEPLOYED_VERSION

from .project import ROOT, Project

MODEL = "Microsoft.CognitiveServices/accounts/deployments"

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
AZURE_YAML_KEYS = {"name", "metadata", "requiredVersions", "infra", "services", "hooks"}
HOOK_KEYS = {"shell", "run", "interactive", "continueOnError"}


def _workflow(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text())
    document["on"] = document.pop(True)  # YAML 1.1 reads the key `on` as true
    return document


def _steps(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in document["jobs"].values() for step in job["steps"]]


def test_azure_yaml_has_only_keys_that_azd_knows() -> None:
    document = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert set(document) <= AZURE_YAML_KEYS
    assert set(document["services"]["api"]) == {"project", "language", "host", "remoteBuild"}
    assert document["services"]["api"]["remoteBuild"] is True
    for hook in document["hooks"].values():
        for platform in hook.values():
            assert set(platform) <= HOOK_KEYS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_bounded_and_keep_no_secret(path: Path) -> None:
    document = _workflow(path)
    assert "secrets." not in path.read_text()
    assert document["permissions"]["contents"] == "read"
    for job in document["jobs"].values():
        assert job["timeout-minutes"] <= 60
    for step in _steps(document):
        assert ("uses" in step) != ("run" in step)
        if uses := step.get("uses"):
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", uses), f"{uses}: pin the commit"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_what_is_there(path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for step in _steps(_workflow(path)):
        command = step.get("run", "")
        for file in re.findall(r"(?:infra|\.ci)/[\w./-]+|\brequirements\.txt", command):
            assert (ROOT / file).is_file(), command
        for target in re.findall(r"\bmake ([\w-]+)", command):
            assert target in targets, command


def test_variables_of_a_workflow_arrive_whatever_they_hold() -> None:
    variables = {
        "PRICES": '{"a": 1}\nPATH=/evil\nEOF\n',
        "EMPTY": "",
        "TEXT": "it's ${X} `y` 日本 <<EOF",
    }
    lines = environment_file(variables).split("\n")
    read: dict[str, str] = {}
    while len(lines) > 1:  # as the runner reads it
        name, _, end = lines.pop(0).partition("<<")
        stop = lines.index(end)
        read[name] = "\n".join(lines[:stop])
        lines = lines[stop + 1 :]
    assert read == variables


def test_the_hook_says_which_vaults_to_open() -> None:
    environment = {
        "CALLBACK_SECRET": "akvs://sub/vault/one",
        "VLLM_API_KEY": "akvs://sub/vault/two",
    }
    assert vaults_to_open({**environment, "PRICES": "{}"}) == [("sub", "vault")]


def test_ci_runs_on_every_python_that_is_supported() -> None:
    document = _workflow(ROOT / ".github/workflows/ci.yml")
    check, test = document["jobs"]["check"], document["jobs"]["test"]
    assert check["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert "make check" in [step.get("run") for step in check["steps"]]
    assert ".ci/run" in [step.get("run") for step in test["steps"]]
    assert "pull_request" in document["on"]


def test_ci_runs_every_test_on_the_deployed_python() -> None:
    app = (ROOT / "infra/modules/function-app.bicep").read_text()
    (deployed,) = re.findall(r"name: 'python'\n\s+version: '([\d.]+)'", app)
    script = (ROOT / ".ci/run").read_text()
    assert f"DEPLOYED={deployed}\nOTHERS=(3.11 3.12)\n" in script
    assert deployed == DEPLOYED_VERSION
    workflow = _workflow(ROOT / ".github/workflows/ci.yml")
    (setup,) = [s["with"] for s in workflow["jobs"]["test"]["steps"] if "with" in s]
    assert setup["python-version"] == deployed


def test_deployment_signs_in_with_a_federated_credential() -> None:
    document = _workflow(ROOT / ".github/workflows/deploy.yml")
    assert document["permissions"]["id-token"] == "write"
    steps = _steps(document)
    version = next(
        s["with"]["python-version"] for s in steps if "python-version" in s.get("with", {})
    )
    app = (ROOT / "infra/modules/function-app.bicep").read_text()
    assert re.findall(r"name: 'python'\n\s+version: '([\d.]+)'", app) == [version]
    assert any("--federated-credential-provider github" in s.get("run", "") for s in steps)
    (login,) = [s for s in steps if s.get("uses", "").startswith("azure/login")]
    assert set(login["with"]) == {"client-id", "tenant-id", "subscription-id"}


def test_only_the_registration_uses_the_graph_extension() -> None:
    written = (ROOT / "infra/bicepconfig.json").read_text()
    config = json.loads(re.sub(r"^ *//.*$", "", written, flags=re.MULTILINE))
    users = [p.name for p in (ROOT / "infra").rglob("*.bicep") if "\nextension " in p.read_text()]
    assert users == ["app-registration.bicep"]
    assert list(config["extensions"]) == ["microsoftGraphV1"]


def test_every_abbreviation_is_used() -> None:
    main = (ROOT / "infra/main.bicep").read_text()
    abbreviations = json.loads((ROOT / "infra/abbreviations.json").read_text())
    assert [a for a in abbreviations if f"abbreviations.{a}}}" not in main] == []


def test_the_workbook_asks_the_workspace() -> None:
    workbook = json.loads((ROOT / "infra/modules/workbook.json").read_text())
    queries = [i["content"]["query"] for i in workbook["items"] if i["type"] == 3]
    assert len(queries) >= 5
    names = [item["name"] for item in workbook["items"]]
    assert len(set(names)) == len(names)


def test_the_gateway_checks_the_token_before_anything_else() -> None:
    root = ET.parse(ROOT / "infra/modules/gateway-policy.xml").getroot()  # noqa: S314 (our own file)
    inbound = root.find("inbound")
    assert inbound is not None
    assert [child.tag for child in inbound] == [
        "base",
        "validate-azure-ad-token",
        "choose",  # a limit of tokens or of requests, see test_addresses
        "set-backend-service",
    ]


# ---- what the options do -------------------------------------------------------------------------


def test_a_private_network_takes_storage_and_foundry_off_the_internet(project: Project) -> None:
    private = project.deployments["private network"]
    for type_ in ("Microsoft.Storage/storageAccounts", "Microsoft.CognitiveServices/accounts"):
        (account,) = private.of_type(type_)
        assert account.properties["publicNetworkAccess"] == "Disabled"
        assert account.properties["networkAcls"]["defaultAction"] == "Deny"
    endpoints = private.of_type("Microsoft.Network/privateEndpoints")
    groups = [
        e.properties["privateLinkServiceConnections"][0]["properties"]["groupIds"][0]
        for e in endpoints
    ]
    assert groups == ["blob", "queue", "table", "account"]
    zones = {z.name for z in private.of_type("Microsoft.Network/privateDnsZones")}
    assert zones == {
        *(
            f"[format('privatelink.{{0}}.{{1}}', '{service}', environment().suffixes.storage)]"
            for service in ("blob", "queue", "table")
        ),
        "privatelink.cognitiveservices.azure.com",
        "privatelink.openai.azure.com",
        "privatelink.services.ai.azure.com",
    }
    (network,) = private.of_type("Microsoft.Network/virtualNetworks")
    app, endpoint = network.properties["subnets"]
    assert (
        app["properties"]["delegations"][0]["properties"]["serviceName"]
        == "Microsoft.App/environments"
    )
    assert (app["properties"]["addressPrefix"], endpoint["properties"]["addressPrefix"]) == (
        "10.80.0.0/26",
        "10.80.0.64/27",
    )
    (site,) = private.of_type("Microsoft.Web/sites")
    subnet: str = site.properties["virtualNetworkSubnetId"]
    assert subnet == f"{network.id}/subnets/app"


def test_an_existing_project_is_used_where_it_is(project: Project) -> None:
    theirs = project.deployments["existing project"]
    assert theirs.of_type("Microsoft.CognitiveServices/accounts") == []
    scopes = [r.id for r in theirs.of_type("Microsoft.Authorization/roleAssignments")]
    assert any("/resourceGroups/theirs/" in s and "/projects/their-project/" in s for s in scopes)
    assert "their-project" in theirs.outputs["FOUNDRY_PROJECT_ENDPOINT"]
    assert "their-account" in theirs.settings()["FOUNDRY_AGENT_SERVICE_ENDPOINT"]


def test_an_endpoint_of_others_is_called_with_its_key(project: Project) -> None:
    theirs = project.deployments["endpoint and key"]
    settings = theirs.settings()
    assert theirs.of_type("Microsoft.CognitiveServices/accounts") == []
    assert settings["FOUNDRY_AGENT_SERVICE_ENDPOINT"] == "https://theirs.openai.azure.com"
    assert settings["FOUNDRY_AGENT_SERVICE_API_KEY"].startswith("@Microsoft.KeyVault(")


def test_a_vault_is_made_for_secrets_alone(project: Project) -> None:
    vaults = {
        scenario: len(deployment.of_type("Microsoft.KeyVault/vaults"))
        for scenario, deployment in project.deployments.items()
    }
    assert [s for s, count in vaults.items() if count] == [
        "endpoint and key",
        "secrets",
        "everything",
    ]
    ours = project.deployments["secrets"]
    (vault,) = ours.of_type("Microsoft.KeyVault/vaults")
    assert {s.name for s in ours.of_type("Microsoft.KeyVault/vaults/secrets")} == {
        "OPENAI-API-KEY",
        "CALLBACK-SECRET",
    }
    assert ours.settings()["CALLBACK_SECRET"] == (
        f"@Microsoft.KeyVault(VaultName={vault.name};SecretName=CALLBACK-SECRET)"
    )
    readers = [
        r
        for r in ours.of_type("Microsoft.Authorization/roleAssignments")
        if r.id.startswith(vault.id)
    ]
    assert len(readers) == 1
    logs = ours.of_type("Microsoft.Insights/diagnosticSettings")
    assert any(log.id.startswith(vault.id) for log in logs)


def test_a_secret_of_another_vault_stays_there(project: Project) -> None:
    theirs = project.deployments["secrets of another vault"]
    assert theirs.settings()["CALLBACK_SECRET"] == (
        "@Microsoft.KeyVault(VaultName=their-vault;SecretName=their-secret)"
    )


def test_the_vault_of_a_private_network_is_private(project: Project) -> None:
    private = project.deployments["everything"]
    (vault,) = private.of_type("Microsoft.KeyVault/vaults")
    assert vault.properties["publicNetworkAccess"] == "Disabled"
    assert vault.properties["networkAcls"]["defaultAction"] == "Deny"
    endpoints = private.of_type("Microsoft.Network/privateEndpoints")
    (endpoint,) = [e for e in endpoints if e.name.endswith("-vault")]
    (connection,) = endpoint.properties["privateLinkServiceConnections"]
    assert connection["properties"]["privateLinkServiceId"] == vault.id
    zones = {z.name for z in private.of_type("Microsoft.Network/privateDnsZones")}
    assert "privatelink.vaultcore.azure.net" in zones


def test_foundry_children_follow_each_other(project: Project) -> None:
    ours = project.deployments["nothing chosen"]
    (deployment,) = ours.of_type(MODEL)
    (made,) = ours.of_type("Microsoft.CognitiveServices/accounts/projects")
    template = dict(project.templates())["foundry"]["resources"]
    assert template["project"]["dependsOn"] == ["account", "deployment"]
    assert made.properties == {}
    assert deployment.properties["model"] == {
        "format": "Meta",
        "name": "Llama-3.3-70B-Instruct",
    }
    (tuned,) = project.deployments["fine-tuned model"].of_type(
        "Microsoft.CognitiveServices/accounts/deployments"
    )
    assert tuned.properties["model"]["version"] == "1"
    assert project.deployments["no model"].of_type(MODEL) == []


def test_warm_instances_come_in_pairs_over_zones(project: Project) -> None:
    (site,) = project.deployments["zones, all groups warm"].of_type("Microsoft.Web/sites")
    ready = site.properties["functionAppConfig"]["scaleAndConcurrency"]["alwaysReady"]
    assert ready == [
        {"name": "http", "instanceCount": 2},
        {"name": "function:receive_job", "instanceCount": 2},
        {"name": "function:run_lane", "instanceCount": 2},
        {"name": "function:deliver_result", "instanceCount": 2},
    ]


def test_entra_lets_in_only_whom_it_is_told(project: Project) -> None:
    def policy(scenario: str) -> tuple[list[str], dict[str, Any]]:
        (config,) = project.deployments[scenario].of_type("Microsoft.Web/sites/config")
        directory = config.properties["identityProviders"]["azureActiveDirectory"]
        validation = directory["validation"]
        return validation["allowedAudiences"], validation["defaultAuthorizationPolicy"]

    guid = "22222222-0000-0000-0000-000000000000"
    assert policy("Entra, own registration") == (
        [guid, "api://agents"],
        {"allowedApplications": [guid, guid]},
    )
    assert policy("Entra, new registration")[1] == {}
    (registration,) = project.deployments["Entra, new registration"].of_type(
        "Microsoft.Graph/applications"
    )
    assert [role["value"] for role in registration.properties["appRoles"]] == [
        "Agents.Use",
        "Agents.Admin",
    ]
    assert project.deployments["nothing chosen"].of_type("Microsoft.Web/sites/config") == []


def test_the_gateway_needs_entra(project: Project) -> None:
    type_ = "Microsoft.ApiManagement/service"
    assert project.deployments["gateway without Entra"].of_type(type_) == []
    deployment = project.deployments["gateway"]
    assert len(deployment.of_type(type_)) == 1
    (policy,) = deployment.of_type(f"{type_}/apis/policies")
    assert not re.search(r"[{][a-z-]+[}]", policy.properties["value"])
    assert 'calls="20000"' in policy.properties["value"]


def test_the_agent_identity_may_use_the_project(project: Project) -> None:
    roles = project.deployments["agent identity"].of_type("Microsoft.Authorization/roleAssignments")
    usual = project.deployments["nothing chosen"].of_type("Microsoft.Authorization/roleAssignments")
    assert len(roles) == len(usual) + 1


def test_alerts_are_mailed_where_an_address_is_given(project: Project) -> None:
    def receivers(scenario: str) -> list[dict[str, Any]]:
        (group,) = project.deployments[scenario].of_type("Microsoft.Insights/actionGroups")
        return group.properties["emailReceivers"]

    assert receivers("nothing chosen") == []
    assert [r["emailAddress"] for r in receivers("everything")] == ["operators@example.com"]
    rules = project.deployments["everything"].of_type("Microsoft.Insights/scheduledQueryRules")
    assert len(rules) == 7
