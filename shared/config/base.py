"""Reads settings from the environment, and reports wrong ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import ErrorDetails

_KINDS: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number"}

_UNRESOLVED = "@microsoft.keyvault("
"""The prefix of an app setting's value if Azure could not resolve its Key Vault reference.
https://learn.microsoft.com/azure/app-service/app-service-key-vault-references"""


class SettingsError(ValueError):
    """One or more settings are wrong; the text lists each of them with its fix."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{len(problems)} setting(s) need attention:{lines}")


@dataclass(frozen=True, slots=True)
class Env:
    """The environment variable of a field, and an example value."""

    name: str
    example: str = ""


class Settings(BaseModel):
    """A frozen group of settings, readable from the environment."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        protected_namespaces=(),
        str_strip_whitespace=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_flag(cls, value: object, info: Any) -> object:
        """Reject true and false for a number; pydantic would convert them to 1 and 0."""
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("it is true or false")
        return value

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read every field from ``environ`` (default: the process environment).

        Raises:
            SettingsError: naming every wrong variable at once.
        """
        settings, problems = cls.read(os.environ if environ is None else environ)
        if problems:
            raise SettingsError(problems)
        return settings

    @classmethod
    def read(cls, source: Mapping[str, str]) -> tuple[Self, list[str]]:
        """Read the settings, with defaults in place of wrong ones; returns all problems as well.

        Each problem begins with the name of a variable.
        """
        values: dict[str, Any] = {}
        problems: list[str] = []
        for name, group in cls._groups():
            values[name], wrong = group.read(source)
            problems += wrong
        for name, env in cls.variables().items():
            text = source.get(env.name, "").strip()
            if text.lower().startswith(_UNRESOLVED):
                problems.append(f"{env.name} {_NOT_FOLLOWED}")
            elif text:
                values[name] = text
        settings, wrong = cls._validated(values)
        problems += wrong
        named = {problem.split()[0] for problem in problems}
        # A rule that involves a wrong variable is skipped: it would check the default instead.
        problems += [p for p in settings.problems() if named.isdisjoint(_words(p))]
        return settings, problems

    def problems(self) -> list[str]:
        """Problems of values that are valid by themselves, such as combinations of them."""
        return []

    @classmethod
    def variables(cls) -> dict[str, Env]:
        """Map each field of this group to its environment variable, in order of declaration."""
        return {
            name: env
            for name, field in cls.model_fields.items()
            for env in field.metadata
            if isinstance(env, Env)
        }

    @classmethod
    def all_variables(cls) -> set[str]:
        """The names of all variables that are read for this group and the groups in it."""
        names = {env.name for env in cls.variables().values()}
        return names.union(*(group.all_variables() for _, group in cls._groups()))

    @classmethod
    def _groups(cls) -> list[tuple[str, type[Settings]]]:
        return [
            (name, field.annotation)
            for name, field in cls.model_fields.items()
            if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
        ]

    @classmethod
    def _validated(cls, values: Mapping[str, Any]) -> tuple[Self, list[str]]:
        """The settings from the valid values, and the problems of the others."""
        try:
            return cls.model_validate(values), []
        except ValidationError as error:
            details = error.errors()
        problems = [cls._explain(detail) for detail in details]
        wrong = {str(detail["loc"][0]) for detail in details if detail["loc"]}
        if not wrong:  # a rule about several settings: any of them may be to blame
            groups: dict[str, Any] = {
                name: value for name, value in values.items() if isinstance(value, Settings)
            }
            return cls.model_construct(**groups), problems
        settings, more = cls._validated({n: v for n, v in values.items() if n not in wrong})
        blamed = {problem.split()[0] for problem in problems}
        return settings, problems + [p for p in more if blamed.isdisjoint(_words(p))]

    @classmethod
    def _explain(cls, detail: ErrorDetails) -> str:
        message = detail["msg"].removeprefix("Value error, ")
        if not detail["loc"]:  # a rule about several settings, which names them itself
            return message
        name = str(detail["loc"][0])
        env = cls.variables()[name]
        kind = _KINDS.get(cls.model_fields[name].annotation)
        example = f"; for example {env.name}={env.example}" if env.example else ""
        wrong = f"must be {kind}" if kind else "cannot be used"
        return f"{env.name} {wrong}: {message}{example}"


_NOT_FOLLOWED = (
    "is a Key Vault reference that Azure could not follow: give the app's identity the role 'Key "
    "Vault Secrets User', check the secret's name and the network rules, and restart the app"
)


def _words(problem: str) -> list[str]:
    return [word.strip(",.:;()") for word in problem.split()]


def names_in(text: str) -> list[str]:
    """The names in a setting that separates them by commas."""
    return [name for part in text.split(",") if (name := part.strip())]
