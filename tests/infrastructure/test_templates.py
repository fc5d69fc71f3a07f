"""Every template parses, fits the resource types, and keeps the rules."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from . import arm_types, rules
from .bicep import pycep_error
from .project import ROOT, Project, mutated

GRAPH_FILE = "app-registration.bicep"
"""The one file with an extension, which tree-sitter's grammar does not know."""

needs_types = pytest.mark.skipif(
    not arm_types.TYPES_FILE.is_file(),
    reason=f"the type data is not there: {arm_types.TYPES_FILE}",
)


@pytest.fixture(scope="module")
def project() -> Project:
    return Project.load(ROOT)


def test_tree_sitter_reads_every_file(project: Project) -> None:
    errors = {source.path.name: source.errors() for source in project.sources()}
    assert [lines for lines in errors.pop(GRAPH_FILE) if "extension" not in lines] == []
    assert {name: lines for name, lines in errors.items() if lines} == {}


def test_pycep_reads_every_file(project: Project) -> None:
    with ThreadPoolExecutor(max_workers=2) as pool:
        errors = list(pool.map(pycep_error, [source.path for source in project.sources()]))
    assert len(errors) > 10
    assert [error for error in errors if error] == []


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule: rules.Rule, project: Project) -> None:
    assert list(rule(project)) == []


@needs_types
def test_every_resource_fits_its_type(project: Project) -> None:
    types = arm_types.read_types()
    resources = [r for d in project.deployments.values() for r in d.resources]
    azure = [r for r in resources if not r.type.startswith("Microsoft.Graph/") and not r.existing]
    assert len({r.type for r in azure}) > 30
    assert sorted({p for r in azure for p in arm_types.problems(r, types)}) == []


@needs_types
@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        pytest.param(
            "storage.bicep",
            "minimumTlsVersion:",
            "minimumTslVersion:",
            ".properties.minimumTslVersion is not a property",
            id="misspelling",
        ),
        pytest.param(
            "function-app.bicep",
            "    clientAffinityEnabled: false",
            "    defaultHostName: 'x'",
            ".properties.defaultHostName is read-only",
            id="read-only",
        ),
        pytest.param(
            "storage.bicep",
            "accessTier: 'Hot'",
            "accessTier: 'Warm'",
            ".properties.accessTier is 'Warm', not one of",
            id="enumeration",
        ),
        pytest.param(
            "monitoring.bicep",
            "    Application_Type: 'web'\n",
            "",
            ".properties.Application_Type is missing",
            id="required",
        ),
        pytest.param(
            "foundry.bicep",
            "allowProjectManagement: true",
            "allowProjectManagement: 'yes'",
            ".properties.allowProjectManagement is not of type bool",
            id="type",
        ),
    ],
)
def test_what_a_type_does_not_allow_is_found(
    file: str, old: str, new: str, expected: str, tmp_path: Path
) -> None:
    changed = mutated(tmp_path, f"infra/modules/{file}", old, new)
    types = arm_types.read_types()
    found = [
        p
        for r in changed.deployments["nothing chosen"].resources
        if not r.existing
        for p in arm_types.problems(r, types)
    ]
    assert any(expected in problem for problem in found), found
