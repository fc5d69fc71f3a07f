"""Fills in `main.parameters.json` as azd does: from the variables of an azd environment."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .bicep import Source

SUBSTITUTION = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?:=([^${}]*))?\}")


def read_parameters(infra: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of main.bicep for an azd environment."""
    declared = Source.read(infra / "main.bicep").declarations["param"]
    document = json.loads((infra / "main.parameters.json").read_text())
    filled = {
        key: _fill(each["value"], environment) for key, each in document["parameters"].items()
    }
    return {
        key: _typed(value, declared[key].type if key in declared else "")
        for key, value in filled.items()
    }


def _fill(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(item, environment) for key, item in value.items()}
    return SUBSTITUTION.sub(lambda m: environment.get(m[1]) or m[2] or "", value)


def _typed(value: Any, type_: str) -> Any:
    if type_ == "int":
        return int(value)
    return value == "true" if type_ == "bool" else value
