"""The reference pages say what the code does: every setting, route and error code is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.config import AppSettings, Settings
from shared.problems import ProblemKind
from shared.routes import BASE, ROUTES
from tests.support.docstrings import field_docstrings

ROOT = Path(__file__).parents[2]
DOCS = Path(__file__).parents[2] / "docs"


def _setting_rows(group: type[Settings]) -> list[str]:
    rows: list[str] = []
    documented = field_docstrings(group)
    for field, env in group.variables().items():
        info = group.model_fields[field]
        default = str(info.default).lower() if isinstance(info.default, bool) else info.default
        shown = "" if default == "" else f"`{default}`"
        rows.append(f"| `{env.name}` | {shown} | {documented[field]} |")
    return rows


@pytest.mark.parametrize("group", [g for _, g in AppSettings._groups()], ids=lambda g: g.__name__)
def test_every_setting_is_documented_with_its_default(group: type[Settings]) -> None:
    page = (DOCS / "settings.md").read_text().splitlines()
    assert [row for row in _setting_rows(group) if row not in page] == []


def test_no_setting_is_documented_that_does_not_exist() -> None:
    page = (DOCS / "settings.md").read_text().partition("## Platform")[0]
    known = {env.name for _, group in AppSettings._groups() for env in group.variables().values()}
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == known


def test_every_route_is_documented() -> None:
    published = [route for route in ROUTES if route.operation.is_published]
    routes = {f"{route.method} /{route.template.removeprefix(BASE)}" for route in published}
    page = (DOCS / "http-api.md").read_text()
    assert set(re.findall(r"^\| `([A-Z]+ /[^`]+)` \|", page, re.MULTILINE)) == routes


def test_every_problem_is_documented_and_no_other() -> None:
    page = (DOCS / "http-api.md").read_text().partition("## Problems")[2]
    rows = [f"| {kind.status} | `{kind.code}` | {kind.meaning} |" for kind in ProblemKind]
    assert re.findall(r"^\| [0-9].*$", page.partition("\n## ")[0], re.MULTILINE) == rows


def test_every_code_of_an_error_is_a_problem() -> None:
    sources = [path.read_text() for path in (ROOT / "shared").rglob("*.py")]
    named = {code for text in sources for code in re.findall(r'\bcode ?= ?"(\w+)"', text)}
    assert named <= {kind.code for kind in ProblemKind}
