"""Bounds of a caller's JSON schema, its size and branching, checked before it is compiled.

All that is asked here is linear in the schema's own size. A few kilobytes of schema can otherwise
take gigabytes to compile (patterns) and seconds to judge by (combinations of combinations), and
the library that does both holds the interpreter's lock meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from .wire_json import JsonObject

MAX_SCHEMA_BYTES = 64 * 1024
"""As JSON. The service itself takes less: 120,000 characters of names and options in all."""

MAX_DEPTH = 32
"""Levels of JSON; the service takes schemas of ten levels, each about two or three of JSON."""

MAX_PATTERNS = 20
MAX_PATTERN_CHARS = 256
MAX_REFERENCES = 200

MAX_CHAINED = 12
"""Of references that lead to references."""

MAX_VISITS = 2_000
"""How often one value of an answer may be looked at, all branches and references followed."""

_REFERENCE = "$ref"
_REFUSED = {"$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$anchor"}
"""Their target is known only during validation; schemas for answers do not need them."""

_HERE = ("not", "if", "then", "else", "allOf", "anyOf", "oneOf")
_HERE_NAMED = ("dependentSchemas",)
"""Keywords whose schemas judge the same value."""

_BELOW = ("additionalProperties", "additionalItems", "contains", "propertyNames", "contentSchema")
_BELOW_TOO = ("unevaluatedProperties", "unevaluatedItems")
_BELOW_NAMED = ("patternProperties",)
"""Keywords whose schemas may all judge one part of it."""

_LARGEST = ("prefixItems", "items")
_LARGEST_NAMED = ("properties",)
"""Keywords of whose schemas only one judges a part."""

UNEVALUATED_WEIGHT = 4
"""To find what was evaluated, all branches are followed again at each level."""

DIVISION_VISITS = 3_000
"""`multipleOf` on floats works with exact fractions of up to 600 digits: 40 us, not 15 ns."""

OPTION_VISITS = 16
"""An option of an `enum` that is a list or an object is compared, a plain one is looked up."""


class SchemaError(ValueError):
    """A schema is beyond a bound; the text says which."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The most work that checking an answer against a schema takes."""

    visits: int = 1
    """For one value of the answer."""
    patterns: int = 0
    """How many patterns one text of the answer may have to match."""
    branches: bool = False
    """It has alternatives, so the text that says why none fits may be long."""
    recursive: bool = False
    """A part refers to itself, so the work grows with the depth of the answer."""

    def __add__(self, other: Cost) -> Cost:
        return self._with(other, self.visits + other.visits, self.patterns + other.patterns)

    def times(self, weight: int) -> Cost:
        """The cost of doing it so many times."""
        return self._with(self, self.visits * weight, self.patterns * weight)

    def or_more(self, other: Cost) -> Cost:
        """The larger of two, of which an answer can meet only one."""
        most = max(self.visits, other.visits), max(self.patterns, other.patterns)
        return self._with(other, *most)

    def _with(self, other: Cost, visits: int, patterns: int) -> Cost:
        branches, recursive = self.branches or other.branches, self.recursive or other.recursive
        return Cost(visits, patterns, branches, recursive)


NOTHING = Cost(0)


def canonical(schema: JsonObject) -> str:
    """A schema as JSON text that is the same for equal schemas.

    Raises:
        SchemaError: if it is deeper or larger than may be, or no JSON.
    """
    _check_depth(schema)
    try:
        text = json.dumps(schema, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        raise SchemaError("it is not JSON") from None
    if len(text) > MAX_SCHEMA_BYTES:
        raise SchemaError(f"it has more than {MAX_SCHEMA_BYTES} bytes")
    return text


def cost(schema: JsonObject) -> Cost:
    """The cost of checking an answer against a schema that `canonical` accepted.

    Raises:
        SchemaError: naming the bound that the schema is beyond.
    """
    patterns = references = 0
    for part in _objects(schema):
        if found := _REFUSED & part.keys():
            raise SchemaError(f"'{min(found)}' cannot be used")
        if part is not schema and isinstance(part.get("$id"), str):
            raise SchemaError("only the whole schema can have an '$id'")
        references += isinstance(part.get(_REFERENCE), str)
        for pattern in _patterns(part):
            patterns += 1
            if len(pattern) > MAX_PATTERN_CHARS:
                raise SchemaError(f"a pattern has more than {MAX_PATTERN_CHARS} characters")
    if patterns > MAX_PATTERNS:
        raise SchemaError(f"it has more than {MAX_PATTERNS} patterns")
    if references > MAX_REFERENCES:
        raise SchemaError(f"it has more than {MAX_REFERENCES} references")
    try:
        whole = _Estimate(schema).of(schema)
    except RecursionError:
        raise SchemaError("it is nested too deep") from None
    if whole.visits > MAX_VISITS:
        raise SchemaError("its alternatives and references combine into too many cases")
    return whole


class _Estimate:
    """Adds up what the parts of one schema cost; each target of a reference only once."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._known: dict[str, Cost] = {}
        self._open: set[str] = set()
        self._here = {"#"}
        """References that were followed to judge the value that is judged now."""

    def of(self, schema: Any) -> Cost:
        """The cost of a schema, which need not be an object."""
        if not isinstance(schema, dict):
            return Cost()
        part = cast("JsonObject", schema)
        total = Cost() + self._applied(part) + self._options(part.get("enum"))
        total += self._options([part.get("const")])
        total += Cost(0, 0, branches="anyOf" in part or "oneOf" in part)
        if "multipleOf" in part:
            total += Cost(DIVISION_VISITS)
        if isinstance(part.get("pattern"), str):
            total += Cost(0, 1)
        if "unevaluatedProperties" in part or "unevaluatedItems" in part:
            return total.times(UNEVALUATED_WEIGHT)
        return total

    def _applied(self, part: JsonObject) -> Cost:
        """The cost of the schemas that a part applies to the same value, or to a part of it."""
        total = self._reference(part.get(_REFERENCE))
        for each in self._members(part, _HERE, _HERE_NAMED):
            total += each
        here, self._here = self._here, set[str]()  # on a part of the value, all may begin anew
        for each in self._members(part, (*_BELOW, *_BELOW_TOO), _BELOW_NAMED):
            total += each
        largest = NOTHING
        for each in self._members(part, _LARGEST, _LARGEST_NAMED):
            largest = largest.or_more(each)
        self._here = here
        named = part.get("patternProperties")
        patterns = len(cast("JsonObject", named)) if isinstance(named, dict) else 0
        return total + largest + Cost(0, patterns)

    def _members(
        self, part: JsonObject, names: tuple[str, ...], named: tuple[str, ...]
    ) -> Iterator[Cost]:
        """The costs of the schemas under keywords: one, a list, or, under some, one by name."""
        for name in names:
            value: Any = part.get(name)
            if isinstance(value, list):
                yield from map(self.of, cast("list[Any]", value))
            elif name in part:
                yield self.of(value)
        for name in named:
            value = part.get(name)
            if isinstance(value, dict):
                yield from map(self.of, cast("JsonObject", value).values())

    def _reference(self, reference: Any) -> Cost:
        """What the target of a reference costs; within itself, a schema is counted only once."""
        if not isinstance(reference, str):
            return NOTHING
        if reference in self._here:
            raise SchemaError("it refers to itself for one and the same value")
        if reference in self._open:
            return Cost(recursive=True)
        if reference not in self._known:
            if len(self._open) >= MAX_CHAINED:
                raise SchemaError(f"more than {MAX_CHAINED} references lead on to each other")
            self._open.add(reference)
            self._here.add(reference)
            self._known[reference] = self.of(_target(self._root, reference))
            self._here.remove(reference)
            self._open.remove(reference)
        return self._known[reference]

    def _options(self, options: Any) -> Cost:
        if not isinstance(options, list):
            return NOTHING
        plain = not any(isinstance(option, dict | list) for option in cast("list[Any]", options))
        return NOTHING if plain else Cost(OPTION_VISITS * len(cast("list[Any]", options)))


def _target(root: JsonObject, reference: str) -> Any:
    """What a reference names; only places in the schema itself can be named.

    Raises:
        SchemaError: if it is not such a place.
    """
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        raise SchemaError("a reference can only name a place in the schema itself, as '#/$defs/a'")
    place: Any = root
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        try:
            if isinstance(place, list):
                place = cast("list[Any]", place)[int(name)]
            else:
                place = cast("JsonObject", place)[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise SchemaError("a reference names no place in the schema") from None
    return place


def _objects(schema: JsonObject) -> Iterator[JsonObject]:
    """All objects in a schema, wherever they are."""
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            part = cast("JsonObject", value)
            yield part
            waiting.extend(part.values())
        elif isinstance(value, list):
            waiting.extend(cast("list[Any]", value))


def _patterns(part: JsonObject) -> Iterator[str]:
    pattern, named = part.get("pattern"), part.get("patternProperties")
    if isinstance(pattern, str):
        yield pattern
    if isinstance(named, dict):
        yield from cast("JsonObject", named)


def _check_depth(schema: JsonObject) -> None:
    """Check that a value is not too deeply nested; one that contains itself is."""
    level: list[Any] = [schema]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                below += cast("Mapping[Any, Any]", value).values()
            elif isinstance(value, list | tuple):
                below += cast("list[Any]", value)
        if not below:
            return
        if len(below) > MAX_SCHEMA_BYTES:
            raise SchemaError(f"it has more than {MAX_SCHEMA_BYTES} bytes")
        level = below
    raise SchemaError(f"it is more than {MAX_DEPTH} levels deep")
