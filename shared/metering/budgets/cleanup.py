"""Deletes counters of budgets whose period has long been over."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...state.row_deletion import delete_rows
from ...state.table import Table
from .limits import BUDGET_PREFIX

PAGE_ROWS = 1_000

KEPT = timedelta(days=62)
"""Since a counter was last renewed: the longest period is a month."""


async def remove_past_counters(table: Table, now: datetime) -> int:
    """Delete the counters that no instance has renewed for two months; returns how many."""
    place, removed = (BUDGET_PREFIX, ""), 0
    while page := await table.walk(place, limit=PAGE_ROWS, select=("until",)):
        for partition, row in page:
            is_counter = partition.startswith(BUDGET_PREFIX)
            if is_counter and row.values["until"] + KEPT <= now:
                removed += await delete_rows(table, partition, [row.row_key])
        partition, last = page[-1]
        if not partition.startswith(BUDGET_PREFIX):
            break
        place = (partition, last.row_key)
    return removed
