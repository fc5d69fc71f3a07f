"""Which department a turn is for, and whether its budget is the one to spend from.

A department is known from the token of the caller or from the settings, as `DEPARTMENTS` maps
owners and values of the claim `DEPARTMENT_CLAIM`. What a caller states only chooses among those.
The statement of a caller of whom nothing is known is a label in usage, and no more.
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
    """The one spelling of a department: letter case, width and white space do not count."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def read_departments(text: str) -> dict[str, str]:
    """The departments that a setting states, by owner or value of a claim, in one spelling.

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
class Belonging:
    """The department of a turn."""

    label: str | None = None
    """As usage names it."""
    is_known: bool = False
    """Whether its budget counts: the caller has not merely claimed it."""

    @property
    def payer(self) -> str | None:
        """The department whose budgets the turn is under."""
        return self.label if self.is_known else None


@dataclass(frozen=True, slots=True)
class Departments:
    """Who belongs where, as the settings say."""

    by_name: Mapping[str, str]
    trusts_callers: bool = False

    def claimed(self, values: Iterable[str]) -> tuple[str, ...]:
        """The departments that the values of a token's claim stand for.

        A single value that is not mapped is the department's name; of several, such as groups,
        only mapped ones are departments.
        """
        listed = list(values)
        mapped = (self.by_name.get(value.casefold()) for value in listed)
        found = tuple(dict.fromkeys(filter(None, mapped)))
        if not found and len(listed) == 1:
            return tuple(filter(None, [same_name(listed[0])]))
        return found

    def of(self, owner: str, claimed: Iterable[str], stated: str | None) -> Belonging:
        """The department of a turn of an owner, whose token named some and who states one."""
        mapped = self.by_name.get(owner.casefold())
        known = [*claimed, *filter(None, [mapped])]
        wanted = same_name(stated) if stated else None
        if known:
            return Belonging(wanted if wanted in known else known[0], is_known=True)
        return Belonging(wanted or None, is_known=self.trusts_callers and bool(wanted))


NO_DEPARTMENTS = Departments({})
"""What a caller states is a label."""
