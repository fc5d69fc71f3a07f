"""What a change of the API document breaks for clients that were made of the earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def breaking(old: Json, new: Json) -> list[str]:
    """A sentence for each thing that a client may miss or has to send now."""
    return sorted(set(_breaking(old, new)))


def _breaking(old: Json, new: Json) -> Iterator[str]:
    now = dict(_operations(new))
    for name, operation in _operations(old):
        if name not in now:
            yield f"`{name}` is gone"
            continue
        if operation["address"] != now[name]["address"]:
            yield f"`{name}` is now {now[name]['address']}"
        yield from _parameters(name, operation, now[name], old, new)
        yield from _body(name, operation, now[name], old, new)
        yield from _answers(name, operation, now[name], old, new)


def _operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            address = f"{method.upper()} {path}"
            yield operation["operationId"], {**operation, "address": address}


def _parameters(name: str, was: Json, now: Json, old: Json, new: Json) -> Iterator[str]:
    known = {(p["in"], p["name"]): p for p in (_resolved(p, old) for p in was["parameters"])}
    current = {(p["in"], p["name"]): p for p in (_resolved(p, new) for p in now["parameters"])}
    for key in known.keys() - current.keys():
        yield f"`{name}` no longer takes `{key[1]}`"
    for key, parameter in current.items():
        if parameter.get("required") and not known.get(key, {}).get("required"):
            yield f"`{name}` requires `{key[1]}`"


def _body(name: str, was: Json, now: Json, old: Json, new: Json) -> Iterator[str]:
    if "requestBody" not in now:
        if "requestBody" in was:
            yield f"`{name}` no longer takes a body"
        return
    before = _members(_json_schema(was.get("requestBody", {})), old)
    after = _members(_json_schema(now["requestBody"]), new)
    for member in before.keys() - after.keys():
        yield f"`{name}` no longer takes `{member}`"
    for member in after:
        within = member.rpartition(".")[0].removesuffix("[]")
        is_of_new = within and within not in before  # which is a member that may be left out
        if after[member] and not before.get(member) and not is_of_new:
            yield f"`{name}` requires `{member}`"


def _answers(name: str, was: Json, now: Json, old: Json, new: Json) -> Iterator[str]:
    for status, answer in was["responses"].items():
        if not status.startswith("2"):
            continue
        current = now["responses"].get(status)
        if current is None:
            yield f"`{name}` no longer answers {status}"
            continue
        for kind in answer.get("content", {}).keys() - current.get("content", {}).keys():
            yield f"`{name}` no longer answers {kind}"
        for header in answer["headers"].keys() - current["headers"].keys():
            yield f"`{name}` no longer answers the header `{header}`"
        before, after = _members(_json_schema(answer), old), _members(_json_schema(current), new)
        for member, always in before.items():
            if member not in after:
                yield f"`{name}` no longer answers `{member}`"
            elif always and not after[member]:
                yield f"`{name}` may answer without `{member}`"


def _json_schema(holder: Json) -> Json:
    return holder.get("content", {}).get("application/json", {}).get("schema", {})


def _members(schema: Json, document: Json, path: str = "", depth: int = 6) -> dict[str, bool]:
    """The members of an object at any depth, and whether each is always there."""
    schema = _resolved(schema, document)
    found: dict[str, bool] = {}
    if depth == 0:
        return found
    for each in schema.get("anyOf", ()):
        found |= _members(each, document, path, depth - 1)
    if "items" in schema:
        found |= _members(schema["items"], document, f"{path}[]", depth - 1)
    for member, inner in schema.get("properties", {}).items():
        where = f"{path}.{member}" if path else member
        found[where] = member in schema.get("required", ())
        found |= _members(inner, document, where, depth - 1)
    return found


def _resolved(value: Json, document: Json) -> Json:
    while "$ref" in value:
        target: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        value = target
    return value
