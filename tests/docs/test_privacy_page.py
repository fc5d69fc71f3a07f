"""The page on privacy names every kind of row, and retention has a rule for it."""

import re
from pathlib import Path

import pytest

from shared.jobs.retention import RULES
from shared.state.keys import ROW_KINDS
from shared.state.markers import Register
from tests.e2e.served import Deployment

PAGE = (Path(__file__).parents[2] / "docs/privacy.md").read_text()


def test_every_kind_of_row_has_a_rule() -> None:
    assert set(RULES) == {str(kind) for kind in ROW_KINDS}


def test_every_kind_of_row_is_on_the_page() -> None:
    documented = re.findall(r"^\| `([a-z]+):` \|", PAGE, re.MULTILINE)
    assert sorted(documented) == sorted(map(str, ROW_KINDS))


@pytest.mark.parametrize("name", [*(f"`${each}`" for each in Register), "`$days`", "`$rolled`"])
def test_every_register_is_on_the_page(name: str) -> None:
    assert name in PAGE


def test_the_census_knows_a_row_of_no_kind() -> None:
    rows = [("key", "thread:1"), ("$lanes-3", "key|x"), ("key", "novel:1"), ("$odd", "1")]
    assert Deployment.of_no_kind(rows) == ["key novel:1", "$odd 1"]
