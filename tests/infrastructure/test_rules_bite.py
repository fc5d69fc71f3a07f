"""Each rule is proven by changes to the project that break it, listed in `breaks.yaml`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from . import rules
from .project import mutated

BREAKS: dict[str, list[dict[str, str]]] = yaml.safe_load(
    Path(__file__).with_name("breaks.yaml").read_text()
)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        pytest.param(rule, change, id=f"{name}-{index}")
        for name, changes in BREAKS.items()
        for index, change in enumerate(changes)
        for rule in [getattr(rules, name)]
    ],
)
def test_a_broken_rule_is_found(rule: rules.Rule, change: dict[str, str], tmp_path: Path) -> None:
    says = change["says"]
    project = mutated(tmp_path, change["file"], change["old"], change["new"])
    problems = list(rule(project))
    assert any(says in problem for problem in problems), problems


def test_a_hook_that_may_not_be_run_is_found(tmp_path: Path) -> None:
    project = mutated(tmp_path, "azure.yaml", "interactive: true", "interactive: false")
    assert list(rules.azure_yaml_matches(project)) == []
    (tmp_path / "infra/scripts/postprovision.sh").chmod(0o644)
    assert list(rules.azure_yaml_matches(project)) == [
        "postprovision: postprovision.sh may not be run"
    ]


def test_every_rule_is_proven() -> None:
    assert list(BREAKS) == [rule.__name__ for rule in rules.RULES]
