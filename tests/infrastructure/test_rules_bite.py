"""Each rule is proven by changes to the project that break it, listed in `breaks.yaml`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from . import rules
from .project import Project, mutated

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
def test_a_broken_rule_is_found(
    rule: rules.Rule, change: dict[str, str], project: Project, tmp_path: Path
) -> None:
    changed = mutated(project, tmp_path, change["file"], change["old"], change["new"])
    problems = list(rule(changed))
    said = change["says"].split(" ... ")
    assert any(all(part in problem for part in said) for problem in problems), problems


def test_a_hook_for_one_platform_alone_is_found(project: Project, tmp_path: Path) -> None:
    changed = mutated(project, tmp_path, "azure.yaml", "    windows:", "    other:")
    assert "postprovision: is not the same script on Windows and elsewhere" in list(
        rules.azure_yaml_matches(changed)
    )


def test_every_rule_is_proven() -> None:
    assert list(BREAKS) == [rule.__name__ for rule in rules.RULES]
