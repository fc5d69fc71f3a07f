"""The department of a turn, and whether the turn spends from the department's budget.

A caller's departments are known from the claim `DEPARTMENT_CLAIM` of its token, or from the setting
`DEPARTMENTS`, which maps owners and claim values to departments. A request can state one of these.
If no department of the caller is known, a stated one is only a label in usage.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError

_Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]
_MAP = TypeAdapter(dict[_Name, _Name])


def same_name(name: str) -> str:
    """Normalize the name of a department: letter case, character width and white space."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def read_departments(text: str) -> dict[str, str]:
    """Parse the setting `DEPARTMENTS`: normalized departments, by owner or claim value.

    Raises:
        ValueError: saying what is wrong.
    """
    if not text:
        return {}
    try:
        stated = _MAP.validate_json(text)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}") from None
    return {name.casefold(): same_name(department) for name, department in stated.items()}


@dataclass(frozen=True, slots=True)
class TurnDepartment:
    """The department of a turn."""

    label: str | None = None
    """The department's name in usage."""
    is_known: bool = False
    """Whether the turn spends from its budget: the caller has not merely stated it."""

    @property
    def payer(self) -> str | None:
        """The department whose budgets the turn spends from; None if it is not known."""
        return self.label if self.is_known else None


@dataclass(frozen=True, slots=True)
class Departments:
    """The departments of owners and claim values, from the settings."""

    by_name: Mapping[str, str]
    trusts_callers: bool = False

    def claimed(self, values: Iterable[str]) -> tuple[str, ...]:
        """The departments of the values of a token's claim.

        A single value without a mapping is itself the department. Of several values, such as
        groups, only those with a mapping are departments.
        """
        listed = list(values)
        mapped = (self.by_name.get(value.casefold()) for value in listed)
        found = tuple(dict.fromkeys(filter(None, mapped)))
        if not found and len(listed) == 1:
            return tuple(filter(None, [same_name(listed[0])]))
        return found

    def of(self, owner: str, claimed: Iterable[str], stated: str | None) -> TurnDepartment:
        """The department of a turn, from its owner, the token's departments and the stated one."""
        known = self.known(owner, claimed)
        wanted = same_name(stated) if stated else None
        if known:
            return TurnDepartment(wanted if wanted in known else known[0], is_known=True)
        return TurnDepartment(wanted or None, is_known=self.trusts_callers and bool(wanted))

    def known(self, owner: str, claimed: Iterable[str]) -> list[str]:
        """The departments of an owner: those of its token, then the one that settings map it to."""
        mapped = self.by_name.get(owner.casefold())
        return list(dict.fromkeys([*claimed, *filter(None, [mapped])]))


NO_DEPARTMENTS = Departments({})
"""No mappings: a stated department is only a label."""
