"""How settings are read from the environment, and what is said of wrong ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

_KINDS: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number"}


class SettingsError(ValueError):
    """One or more settings are wrong; the text lists each of them with its fix."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{len(problems)} setting(s) need attention:{lines}")


@dataclass(frozen=True, slots=True)
class Env:
    """The environment variable behind a field, and an example that shows its form."""

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
        use_attribute_docstrings=True,
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read every field from ``environ`` (default: the process environment).

        Raises:
            SettingsError: naming every wrong variable at once.
        """
        source = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        problems: list[str] = []
        for name, group in cls._groups():
            try:
                values[name] = group.from_env(source)
            except SettingsError as error:
                problems += error.problems
        variables = cls.variables()
        for name, env in variables.items():
            if text := source.get(env.name, "").strip():
                values[name] = text
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(
                problems + [cls._explain(detail) for detail in error.errors()]
            ) from None
        if problems:
            raise SettingsError(problems)
        return settings

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
    def _groups(cls) -> list[tuple[str, type[Settings]]]:
        return [
            (name, field.annotation)
            for name, field in cls.model_fields.items()
            if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
        ]

    @classmethod
    def _explain(cls, detail: ErrorDetails) -> str:
        if not detail["loc"]:  # a rule about several settings, which names them itself
            return detail["msg"].removeprefix("Value error, ")
        name = str(detail["loc"][0])
        env = cls.variables()[name]
        kind = _KINDS.get(cls.model_fields[name].annotation, "text")
        example = f"; for example {env.name}={env.example}" if env.example else ""
        return f"{env.name} must be {kind}: {detail['msg']}{example}"


def names_in(text: str) -> list[str]:
    """The names in a setting that separates them by commas."""
    return [name for part in text.split(",") if (name := part.strip())]
