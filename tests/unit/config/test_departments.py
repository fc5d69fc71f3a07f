"""Which department a turn is for, and whether its budget counts."""

from __future__ import annotations

import pytest

from shared.config import AccessSettings, SettingsError
from shared.config.departments import Departments, read_departments, same_name

MAP = '{"key": "Finance ", "aaaa:BBBB": "law", "group-1": "sales", "group-2": "law"}'
KNOWN = Departments(read_departments(MAP))


@pytest.mark.parametrize("name", ["law", " Law", "LAW\t", "\u00a0l\uff21w\u2003", "law\n"])
def test_one_department_has_one_spelling(name: str) -> None:
    assert same_name(name) == "law"


@pytest.mark.parametrize(
    ("owner", "claimed", "stated", "label", "payer"),
    [
        ("key", (), None, "finance", "finance"),
        ("key", (), "law", "finance", "finance"),
        ("key", (), " FINANCE", "finance", "finance"),
        ("AAAA:bbbb", (), None, "law", "law"),
        ("other", (), "finance", "finance", None),
        ("other", (), None, None, None),
        ("other", (), "  ", None, None),
        ("other", ("sales", "law"), None, "sales", "sales"),
        ("other", ("sales", "law"), "Law", "law", "law"),
        ("other", ("sales", "law"), "finance", "sales", "sales"),
        ("key", ("sales",), "finance", "finance", "finance"),
    ],
)
def test_what_a_caller_states_only_chooses_among_its_own(
    owner: str, claimed: tuple[str, ...], stated: str | None, label: str | None, payer: str | None
) -> None:
    belonging = KNOWN.of(owner, claimed, stated)
    assert (belonging.label, belonging.payer) == (label, payer)


def test_a_trusted_statement_counts_where_nothing_is_known() -> None:
    trusting = Departments(read_departments(MAP), trusts_callers=True)
    assert trusting.of("other", (), " Law ").payer == "law"
    assert trusting.of("key", (), "law").payer == "finance"
    assert trusting.of("other", (), None).payer is None


@pytest.mark.parametrize(
    ("values", "departments"),
    [
        ([], ()),
        (["Marketing "], ("marketing",)),
        (["GROUP-1"], ("sales",)),
        (["unknown", "group-2", "group-1", "group-2"], ("law", "sales")),
        (["unknown", "another"], ()),
        ([" "], ()),
    ],
)
def test_a_claim_names_a_department_or_mapped_groups(
    values: list[str], departments: tuple[str, ...]
) -> None:
    assert KNOWN.claimed(values) == departments


@pytest.mark.parametrize("text", ["[]", "{", '{"key": 1}', '{"key": ""}', '{" ": "law"}', "null"])
def test_a_map_that_cannot_be_read_is_refused_at_start(text: str) -> None:
    with pytest.raises(SettingsError, match="DEPARTMENTS"):
        AccessSettings.from_env({"DEPARTMENTS": text})
