"""Which kind a row of each table is; each has a rule of retention and a line in docs/privacy.md."""

import re

from shared.state.keys import ROW_KINDS
from shared.state.markers import Register

AUDIT_KINDS = ("record", "$days")
METRICS_KINDS = ("minute", "hour", "day", "$days", "$rolled", "$budget")
LASTING_METRICS = ("day", "$rolled")
"""Kinds that no age deletes."""

_OF_A_DAY = re.compile(r".+!\d{4}-\d{2}-\d{2}")


def state_kind(partition: str, row_key: str) -> str | None:
    """The kind of a row of the state table; None for one that no rule is about."""
    registers = (*(f"${each}-" for each in Register), "$retention")
    if partition.startswith(registers):
        return partition.partition("-")[0]
    kind = row_key.partition(":")[0]
    return kind if kind in ROW_KINDS else None


def audit_kind(partition: str, row_key: str) -> str | None:
    """As `state_kind`, of the audit table."""
    if partition == "$days":
        return "$days"
    is_record = _OF_A_DAY.fullmatch(partition) and re.fullmatch(r"[0-9A-Z]{26}", row_key)
    return "record" if is_record else None


def metrics_kind(partition: str, row_key: str) -> str | None:
    """As `state_kind`, of the table of metrics."""
    special = partition.partition("!")[0]
    if special in METRICS_KINDS:
        return special
    kind, *parts = row_key.split("|")
    is_known = (kind in {"minute", "hour"}) == bool(_OF_A_DAY.fullmatch(partition))
    return kind if parts and is_known and kind in METRICS_KINDS else None
