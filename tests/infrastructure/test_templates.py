"""The compiler takes every template, and what it would deploy keeps the rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import rules
from .compiler import Bicep
from .project import ROOT, SCENARIOS, Project, mutated

SOURCES = sorted([*(ROOT / "infra").rglob("*.bicep"), *(ROOT / "infra").rglob("*.bicepparam")])


def test_every_file_is_as_the_formatter_writes_it(bicep: Bicep) -> None:
    assert len(SOURCES) > 15
    unlike = [path.name for path in SOURCES if bicep.format(path) != path.read_text()]
    assert unlike == [], "`make format` writes them as they should be"


def test_a_file_that_is_not_formatted_is_found(bicep: Bicep, tmp_path: Path) -> None:
    file = tmp_path / "identity.bicep"
    written = (ROOT / "infra/modules/identity.bicep").read_text()
    file.write_text(written.replace("  name:", " name:"))
    assert bicep.format(file) != file.read_text()


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule: rules.Rule, project: Project) -> None:
    assert list(rule(project)) == []


def test_every_scenario_deploys(project: Project) -> None:
    assert list(project.deployments) == list(SCENARIOS)
    sizes = [len(deployment.resources) for deployment in project.deployments.values()]
    assert min(sizes) > 30
    assert len({r.type for d in project.deployments.values() for r in d.resources}) > 35


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        pytest.param(
            "storage.bicep",
            "minimumTlsVersion:",
            "minimumTslVersion:",
            '"minimumTslVersion" is not allowed',
            id="misspelling",
        ),
        pytest.param(
            "function-app.bicep",
            "    clientAffinityEnabled: false",
            "    defaultHostName: 'x'",
            '"defaultHostName" is read-only',
            id="read-only",
        ),
        pytest.param(
            "storage.bicep",
            "accessTier: 'Hot'",
            "accessTier: 'Warm'",
            '"accessTier" expected a value of type',
            id="enumeration",
        ),
        pytest.param(
            "monitoring.bicep",
            "    Application_Type: 'web'\n",
            "",
            'missing the following required properties: "Application_Type"',
            id="required",
        ),
        pytest.param(
            "foundry.bicep",
            "allowProjectManagement: true",
            "allowProjectManagement: 'yes'",
            '"allowProjectManagement" expected a value of type',
            id="type",
        ),
    ],
)
def test_what_a_type_does_not_allow_is_found(
    file: str, old: str, new: str, expected: str, project: Project, tmp_path: Path
) -> None:
    changed = mutated(project, tmp_path, f"infra/modules/{file}", old, new)
    said = [str(diagnostic) for diagnostic in changed.template[1]]
    assert any(expected in line for line in said), said
