"""Checks resources against the property trees of their types.

The trees are trimmed from Microsoft's published type data (Azure/bicep-types-az). They lie outside
the repository; `extra_arm_types.json` beside this file adds, in the same form, two types that they
leave out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .deployment import Resource

ROOT = Path(__file__).parents[2]
TYPES_FILE = ROOT.parent / "shared" / "reference" / "arm-types.json"
_EXTRA_FILE = Path(__file__).with_name("extra_arm_types.json")

_OF_TEMPLATE = {"parent", "scope", "dependsOn"}
"""Keys of a resource that Bicep understands and Azure never sees."""

_PYTHON_TYPES = {"string": str, "int": int, "bool": bool, "object": dict, "array": list}

Type = dict[str, Any]


def read_types() -> dict[str, Type]:
    """The property trees, by `type@version`."""
    types: dict[str, Type] = {}
    for file in (TYPES_FILE, _EXTRA_FILE):
        types |= json.loads(file.read_text())["types"]
    return types


def problems(resource: Resource, types: dict[str, Type]) -> list[str]:
    """Where a resource says what its type does not have, or lacks what it needs."""
    key = f"{resource.type}@{resource.version}"
    if key not in types:
        return [f"{resource}: {key} is not in the type data"]
    body = {name: value for name, value in resource.body.items() if name not in _OF_TEMPLATE}
    return [f"{resource}: {problem}" for problem in _of_value(body, types[key], "")]


def _of_value(value: Any, type_: Type, where: str) -> Iterator[str]:
    expected = _PYTHON_TYPES.get(type_.get("t", ""))
    if value is None or (isinstance(value, str) and "<" in value and expected is not str):
        return  # null leaves a property out; a run-time value may be of any type
    if expected and (
        not isinstance(value, expected) or (expected is int and isinstance(value, bool))
    ):
        yield f"{where} is not of type {type_['t']}: {value!r}"
    elif isinstance(value, dict):
        yield from _of_object(value, type_, where)
    elif isinstance(value, list):
        for item in value:
            yield from _of_value(item, type_.get("items", {}), f"{where}[]")
    elif isinstance(value, str):
        yield from _of_text(value, type_, where)


def _of_object(value: dict[str, Any], type_: Type, where: str) -> Iterator[str]:
    if "cases" in type_:
        type_ = _case(value, type_)
    known: dict[str, Type] = type_.get("props", {})
    if not known:
        return
    for name, item in value.items():
        if name in known:
            if known[name].get("readOnly"):
                yield f"{where}.{name} is read-only"
            yield from _of_value(item, known[name], f"{where}.{name}")
        elif not type_.get("open"):
            yield f"{where}.{name} is not a property"
    for name, each in known.items():
        if each.get("required") and not each.get("readOnly") and name not in value:
            yield f"{where}.{name} is missing"


def _case(value: dict[str, Any], type_: Type) -> Type:
    case = type_["cases"].get(value.get(type_["discriminator"]), {})
    return {**case, "props": {**type_.get("props", {}), **case.get("props", {})}}


def _of_text(value: str, type_: Type, where: str) -> Iterator[str]:
    # Enumerations that Azure calls open are closed here: nothing newer than they is used.
    if (options := type_.get("enum")) and value not in options:
        yield f"{where} is {value!r}, not one of {options}"
    run_time = "«" in value or "<" in value
    if (pattern := type_.get("pattern")) and not run_time and not re.search(pattern, value):
        yield f"{where} is {value!r}, which {pattern} does not match"
