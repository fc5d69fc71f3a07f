"""The deployable project as the rules see it: its files, and what they would deploy.

The compiler works on a copy of `infra/`: it reads the place of the Graph extension from the folder
of the templates, and each scenario is a parameters file beside them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .compiler import GRAPH_EXTENSION, Bicep, CompilerError, Diagnostic

ROOT = Path(__file__).parents[2]

Json = dict[str, Any]

_FILES = ("host.json", "azure.yaml", ".funcignore")
_READ = re.compile(r"readEnvironmentVariable\('(\w+)', ''\)")
_PROJECT = (
    "/subscriptions/11111111-0000-0000-0000-000000000000/resourceGroups/theirs/providers"
    "/Microsoft.CognitiveServices/accounts/their-account/projects/their-project"
)
GUID = "22222222-0000-0000-0000-000000000000"
BASE = {"AZURE_ENV_NAME": "test", "AZURE_LOCATION": "westeurope"}
SECRETS = {
    "OPENAI_API_KEY": "a key",
    "CALLBACK_SECRET": "whsec_bm90IGEgc2VjcmV0IGJ1dCBhbiBleGFtcGxl",
}

SCENARIOS: Mapping[str, Mapping[str, str]] = {
    "nothing chosen": {},
    "private network": {"VNET_ENABLED": "true"},
    "existing project": {"EXISTING_PROJECT_ID": _PROJECT},
    "existing project, private network": {
        "EXISTING_PROJECT_ID": _PROJECT,
        "VNET_ENABLED": "true",
    },
    "endpoint and key": {
        "FOUNDRY_AGENT_SERVICE_ENDPOINT": "https://theirs.openai.azure.com",
        "FOUNDRY_AGENT_SERVICE_API_KEY": "a key",
    },
    "no model": {"DEPLOY_MODEL": "false"},
    "fine-tuned model": {"MODEL_NAME": "Llama-3.3-70B-Instruct.ft-1-x", "MODEL_VERSION": "1"},
    "Entra, new registration": {"ENTRA_AUTH_ENABLED": "true"},
    "Entra, own registration": {
        "ENTRA_AUTH_ENABLED": "true",
        "ENTRA_APP_CLIENT_ID": GUID,
        "ALLOWED_CLIENT_IDS": f"{GUID},{GUID}",
        "ALLOWED_AUDIENCES": "api://agents",
    },
    "gateway without Entra": {"GATEWAY_ENABLED": "true"},
    "gateway": {
        "GATEWAY_ENABLED": "true",
        "ENTRA_AUTH_ENABLED": "true",
        "ENTRA_APP_CLIENT_ID": GUID,
    },
    "agent identity": {"AGENT_IDENTITY_PRINCIPAL_ID": GUID},
    "zones, all groups warm": {"ZONE_REDUNDANT": "true", "ALWAYS_READY_PER_QUEUE": "1"},
    "secrets": SECRETS,
    "secrets of another vault": {"CALLBACK_SECRET": f"akvs://{GUID}/their-vault/their-secret"},
    "everything": {
        "VNET_ENABLED": "true",
        "ENTRA_AUTH_ENABLED": "true",
        "GATEWAY_ENABLED": "true",
        "MCP_AUTHORIZATION": "true",
        "ZONE_REDUNDANT": "true",
        "CONSOLE": "on",
        "ALERT_EMAIL": "operators@example.com",
        "AGENT_IDENTITY_ENABLED": "true",
        "AGENT_IDENTITY_PRINCIPAL_ID": GUID,
        **SECRETS,
    },
}
"""azd environments that between them turn every choice on and off."""


@dataclass(frozen=True)
class Resource:
    """One resource as it would be sent to Azure; what only a deployment knows is in brackets."""

    type: str
    version: str
    id: str
    body: Json

    @classmethod
    def of(cls, predicted: Json) -> Resource:
        """A resource of a snapshot; those of extensions have their version in the type."""
        type_, _, version = predicted["type"].partition("@")
        return cls(type_, predicted.get("apiVersion", version), predicted.get("id", ""), predicted)

    @property
    def path(self) -> str:
        """The name, after those of its parents."""
        return str(self.body.get("name", ""))

    @property
    def name(self) -> str:
        """The resource's own name."""
        return self.path.rpartition("/")[2]

    @property
    def properties(self) -> Json:
        """What the resource is made of."""
        properties: Json = self.body.get("properties", {})
        return properties

    def __str__(self) -> str:
        """How a problem names it."""
        return f"{self.type} {self.path}"


@dataclass(frozen=True)
class Deployment:
    """What one scenario would deploy."""

    resources: list[Resource]
    outputs: Json

    def of_type(self, type_: str) -> list[Resource]:
        """The resources of a type."""
        return [each for each in self.resources if each.type == type_]

    def settings(self) -> dict[str, str]:
        """The app settings."""
        (site,) = self.of_type("Microsoft.Web/sites")
        return {s["name"]: s["value"] for s in site.properties["siteConfig"]["appSettings"]}


@dataclass
class Project:
    """A checkout, or a changed copy of it, with the compiler that judges it."""

    root: Path
    bicep: Bicep
    folder: Path
    """Where the compiler finds its copy of `infra/`, with a bicepconfig.json for this machine."""
    scenarios: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: SCENARIOS)
    errors: list[str] = field(default_factory=list)
    """Why a scenario would not deploy."""

    @property
    def infra(self) -> Path:
        """The folder of the templates as they were written."""
        return self.root / "infra"

    @cached_property
    def template(self) -> tuple[Json, list[Diagnostic]]:
        """main.bicep compiled, and what the compiler said of it and its modules."""
        return self.bicep.compile(self.folder / "main.bicep")

    @cached_property
    def deployments(self) -> dict[str, Deployment]:
        """What each scenario deploys."""
        found: dict[str, Deployment] = {}
        for name, environment in self.scenarios.items():
            try:
                found[name] = self.deploy(environment)
            except CompilerError as error:
                self.errors.append(f"{name}: {error}")
        return found

    def deploy(self, environment: Mapping[str, str]) -> Deployment:
        """What an azd environment deploys.

        Raises:
            CompilerError: where the templates refuse it.
        """
        snapshot = self.bicep.snapshot(self.parameters_file({**BASE, **environment}))
        resources = [Resource.of(each) for each in snapshot["predictedResources"]]
        return Deployment(resources, snapshot.get("outputs", {}))

    def parameters_file(self, environment: Mapping[str, str]) -> Path:
        """main.bicepparam with the texts of an environment in the place of their names.

        The compiler reads the variables of its own process, which lives through all scenarios.
        """
        written = (self.folder / "main.bicepparam").read_text()
        filled = _READ.sub(lambda m: bicep_text(environment.get(m[1], "")), written)
        file = self.folder / "scenario.bicepparam"
        file.write_text(filled)
        return file

    def of_type(self, type_: str) -> list[Resource]:
        """The resources of a type over all scenarios."""
        return [each for d in self.deployments.values() for each in d.of_type(type_)]

    def templates(self) -> Iterator[tuple[str, Json]]:
        """Every compiled template, by the name of its module; `main` is the first."""
        main = self.template[0]
        yield "main", main
        for symbol, resource in main.get("resources", {}).items():
            if resource["type"] == "Microsoft.Resources/deployments":
                yield symbol, resource["properties"]["template"]


def offered_settings() -> set[str]:
    """The app settings that main.bicepparam reads from the environment."""
    return _names("main.bicepparam", "param settings = {", "\n}")


def secret_settings() -> set[str]:
    """The app settings that are secrets."""
    return _names("main.bicepparam", "var secretSettings = {", "\n}")


def decided_settings() -> set[str]:
    """The app settings that resources decide, or a choice."""
    return _names("main.bicep", "appSettings: union(", "})") | _names(
        "main.bicep", "var accessSettings =", ": {}"
    )


def _names(file: str, start: str, end: str) -> set[str]:
    block = (ROOT / "infra" / file).read_text().partition(start)[2].partition(end)[0]
    return set(re.findall(r"^ +(\w+): ", block, re.MULTILINE))


def bicep_text(value: str) -> str:
    """A text as Bicep writes it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
    return "'" + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + "'"


def load(bicep: Bicep, folder: Path, root: Path = ROOT) -> Project:
    """A checkout with a copy of its templates in an empty folder."""
    shutil.copytree(root / "infra", folder, ignore=shutil.ignore_patterns("__pycache__", "scripts"))
    if extension := os.environ.get(GRAPH_EXTENSION):
        config = folder / "bicepconfig.json"
        written = re.sub(r"br:mcr[^\"]*", extension, config.read_text())
        config.write_text(written)
    return Project(root, bicep, folder)


def mutated(project: Project, target: Path, file: str, old: str, new: str) -> Project:
    """A copy of the checkout in which one text of one file is replaced by another."""
    shutil.copytree(project.infra, target / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        shutil.copy(project.root / name, target)
    content = (target / file).read_text()
    assert old in content, f"{file} has no {old!r} any more"
    (target / file).write_text(content.replace(old, new, 1))
    changed = load(project.bicep, target / "compiled", target)
    changed.scenarios = {"everything": SCENARIOS["everything"]}
    if not file.startswith("infra/"):
        changed.deployments = {"everything": project.deployments["everything"]}
    return changed


def resources_of(template: Json) -> list[Json]:
    """The resources of a compiled template, which names them only where it has types of its own."""
    resources: dict[str, Json] | list[Json] = template.get("resources", [])
    return list(resources.values()) if isinstance(resources, dict) else resources
