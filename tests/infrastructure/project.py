"""The deployable project as the rules see it: its files, and what it would deploy."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .bicep import Source
from .deployment import Deployment, Resource, deploy
from .expressions import EvaluationError
from .parameters import read_parameters

ROOT = Path(__file__).parents[2]

_FILES = ("host.json", "azure.yaml", ".funcignore")
_BASE = {"AZURE_ENV_NAME": "test", "AZURE_LOCATION": "westeurope"}
_PROJECT = (
    "/subscriptions/11111111-0000-0000-0000-000000000000/resourceGroups/theirs/providers"
    "/Microsoft.CognitiveServices/accounts/their-account/projects/their-project"
)
_GUID = "22222222-0000-0000-0000-000000000000"

SCENARIOS: Mapping[str, Mapping[str, str]] = {
    "nothing chosen": {},
    "private network": {"VNET_ENABLED": "true"},
    "existing project": {"EXISTING_PROJECT_ID": _PROJECT},
    "existing project, private network": {
        "EXISTING_PROJECT_ID": _PROJECT,
        "VNET_ENABLED": "true",
    },
    "no model": {"DEPLOY_MODEL": "false"},
    "fine-tuned model": {"MODEL_NAME": "Llama-3.3-70B-Instruct.ft-1-x", "MODEL_VERSION": "1"},
    "Entra, new registration": {"ENTRA_AUTH_ENABLED": "true"},
    "Entra, own registration": {
        "ENTRA_AUTH_ENABLED": "true",
        "ENTRA_APP_CLIENT_ID": _GUID,
        "ALLOWED_CLIENT_IDS": f"{_GUID},{_GUID}",
        "ALLOWED_AUDIENCES": "api://agents",
    },
    "gateway without Entra": {"GATEWAY_ENABLED": "true"},
    "gateway": {"GATEWAY_ENABLED": "true", "ENTRA_AUTH_ENABLED": "true"},
    "agent identity": {"AGENT_IDENTITY_PRINCIPAL_ID": _GUID},
    "zones, all groups warm": {"ZONE_REDUNDANT": "true", "ALWAYS_READY_PER_QUEUE": "1"},
    "everything": {
        "VNET_ENABLED": "true",
        "ENTRA_AUTH_ENABLED": "true",
        "GATEWAY_ENABLED": "true",
        "ZONE_REDUNDANT": "true",
        "ALERT_EMAIL": "operators@example.com",
        "AGENT_IDENTITY_PRINCIPAL_ID": _GUID,
    },
}
"""azd environments that between them turn every choice on and off."""


@dataclass
class Project:
    """A checkout, or a copy of what is deployed from it."""

    root: Path
    deployments: dict[str, Deployment] = field(default_factory=dict)
    """What each scenario deploys."""
    errors: list[str] = field(default_factory=list)
    """Why a scenario would not deploy."""

    @classmethod
    def load(cls, root: Path, scenarios: Iterable[str] = SCENARIOS) -> Project:
        """Evaluate the templates of a checkout in every scenario, or in some."""
        project = cls(root)
        for name in scenarios:
            try:
                parameters = read_parameters(project.infra, {**_BASE, **SCENARIOS[name]})
                project.deployments[name] = deploy(project.infra / "main.bicep", parameters)
            except EvaluationError as error:
                project.errors.append(f"{name}: {error}")
        return project

    @property
    def infra(self) -> Path:
        """The folder of the templates."""
        return self.root / "infra"

    def sources(self) -> list[Source]:
        """Every Bicep file."""
        return [Source.read(path) for path in sorted(self.infra.rglob("*.bicep"))]

    def of_type(self, type_: str) -> list[Resource]:
        """The resources of a type over all scenarios."""
        return [each for d in self.deployments.values() for each in d.of_type(type_)]


def mutated(target: Path, file: str, old: str, new: str) -> Project:
    """A copy of this checkout in which one text of one file is replaced by another."""
    shutil.copytree(ROOT / "infra", target / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        shutil.copy(ROOT / name, target)
    content = (target / file).read_text()
    assert old in content, f"{file} has no {old!r} any more"
    (target / file).write_text(content.replace(old, new, 1))
    return Project.load(target, ["nothing chosen", "everything"])
