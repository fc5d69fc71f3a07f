"""The Bicep functions that the templates use, on plain Python values.

What only Azure knows (a name's hash, a resource's address) is stood in for by a text that says
what it is, so that names and settings can still be followed through the templates.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import uuid
from collections.abc import Callable
from typing import Any

SUBSCRIPTION = "00000000-0000-0000-0000-00000000aaaa"
TENANT = "00000000-0000-0000-0000-00000000bbbb"
_TOKEN_LENGTH = 13


class Environment(dict[str, Any]):
    """What `environment()` answers in the public cloud."""

    def __init__(self) -> None:
        super().__init__(
            authentication={"loginEndpoint": "https://login.microsoftonline.com/"},
            suffixes={"storage": "core.windows.net"},
        )


def union(*values: Any) -> Any:
    """Merge objects, deeply, or join arrays without repeats."""
    if isinstance(values[0], list):
        return list(dict.fromkeys(item for value in values for item in value))
    merged: dict[str, Any] = {}
    for value in values:
        for key, item in value.items():
            both = isinstance(item, dict) and isinstance(merged.get(key), dict)
            merged[key] = union(merged[key], item) if both else item
    return merged


def unique_string(*values: str) -> str:
    """A short hash, as long as Azure's."""
    return hashlib.sha256("|".join(values).encode()).hexdigest()[:_TOKEN_LENGTH]


def guid(*values: str) -> str:
    """A GUID made of its arguments."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "|".join(values)))


def resource_id(type_: str, *names: str) -> str:
    """The id of a resource in the resource group of the deployment."""
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/{type_}/{'/'.join(names)}"


def subscription_resource_id(type_: str, *names: str) -> str:
    """The id of a resource of the subscription."""
    return f"/subscriptions/{SUBSCRIPTION}/providers/{type_}/{'/'.join(names)}"


def resource_group(*where: str) -> dict[str, str]:
    """The resource group of the deployment, or another one by subscription and name."""
    name = where[-1] if where else "rg"
    subscription = where[0] if len(where) == 2 else SUBSCRIPTION
    id_ = f"/subscriptions/{subscription}/resourceGroups/{name}"
    return {"id": id_, "name": name, "location": "westeurope"}


def cidr_subnet(network: str, prefix: int, index: int) -> str:
    """The subnet of that length and number."""
    return str(list(ipaddress.ip_network(network).subnets(new_prefix=prefix))[index])


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "cidrSubnet": cidr_subnet,
    "concat": lambda *lists: [item for each in lists for item in each],
    "empty": lambda value: not value,
    "endsWith": lambda value, end: value.lower().endswith(end.lower()),
    "environment": Environment,
    "filter": lambda values, test: [value for value in values if test(value)],
    "flatten": lambda lists: [item for each in lists for item in each],
    "guid": guid,
    "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "json": json.loads,
    "map": lambda values, change: [change(value) for value in values],
    "max": max,
    "replace": lambda value, old, new: value.replace(old, new),
    "resourceGroup": resource_group,
    "resourceId": resource_id,
    "split": lambda value, delimiter: value.split(delimiter),
    "string": str,
    "subscription": lambda: {
        "id": f"/subscriptions/{SUBSCRIPTION}",
        "subscriptionId": SUBSCRIPTION,
    },
    "subscriptionResourceId": subscription_resource_id,
    "tenant": lambda: {"tenantId": TENANT},
    "toLower": lambda value: value.lower(),
    "union": union,
    "uniqueString": unique_string,
}
