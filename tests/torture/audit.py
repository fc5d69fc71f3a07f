"""Counts what must not be, from the conversations Foundry keeps and the app's own tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import httpx
from azure.data.tables import EntityProperty
from azure.data.tables.aio import TableClient

from shared.state.keys import identifier

from .plan import Lane, PlannedJob

JsonObject = dict[str, Any]

Rows = Callable[[str, str], Awaitable[list[JsonObject]]]
"""The rows of an owner whose key begins with a kind: ``await rows(owner, "job")``."""

TERMINAL = {"succeeded", "failed", "cancelled", "expired"}
PAGE_ITEMS = 100


@dataclass
class Findings:
    """What must be zero, and what else is of interest."""

    lost: int = 0
    """Jobs that were accepted and are not there, and messages of succeeded jobs that are not."""
    duplicated: int = 0
    """User messages that stand in a conversation more than once, or turns recorded twice."""
    out_of_order: int = 0
    """Conversations whose messages stand in another order than their jobs were accepted in."""
    two_at_once: int = 0
    """Requests on a conversation while another was under way."""
    not_terminal: int = 0
    """Jobs that have not ended."""
    failed: int = 0
    """Jobs that ended without success; allowed, but none is expected."""

    @property
    def is_clean(self) -> bool:
        """Whether all five zeros are."""
        return not any(count for name, count in asdict(self).items() if name != "failed")


def table_rows(table: TableClient) -> Rows:
    """The rows of the app's table."""

    async def rows(owner: str, kind: str) -> list[JsonObject]:
        condition = f"PartitionKey eq '{owner}' and RowKey ge '{kind}:' and RowKey lt '{kind};'"
        return [_plain(dict(row)) async for row in table.query_entities(condition)]

    return rows


def _plain(row: JsonObject) -> JsonObject:
    """A row with whole numbers as Python has them."""
    return {k: v.value if isinstance(v, EntityProperty) else v for k, v in row.items()}


async def read_conversations(foundry: httpx.AsyncClient) -> dict[str, list[str]]:
    """The user's messages of every conversation, in order, read over the wire."""
    said: dict[str, list[str]] = {}
    async for conversation in _pages(foundry, "conversations"):
        path = f"conversations/{conversation['id']}/items"
        items = [item async for item in _pages(foundry, path)]
        users = [item for item in items if item.get("role") == "user"]
        said[conversation["id"]] = [item["content"][0]["text"] for item in users]
    return said


async def _pages(foundry: httpx.AsyncClient, path: str) -> AsyncGenerator[JsonObject]:
    query: dict[str, str | int] = {"order": "asc", "limit": PAGE_ITEMS}
    more = True
    while more:
        page = (await foundry.get(path, params=query)).raise_for_status().json()
        for row in page["data"]:
            yield row
        more = page["has_more"]
        query["after"] = page["last_id"]


class Audit:
    """Goes through all lanes of a run."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def count_open(self, lanes: list[Lane]) -> int:
        """How many jobs have not ended, or are not there yet."""
        left = 0
        for lane in lanes:
            rows = await self._rows(lane.owner, "job")
            left += len(lane.jobs) - sum(row["status"] in TERMINAL for row in rows)
        return left

    async def inspect(self, lanes: list[Lane], said: dict[str, list[str]]) -> Findings:
        """All findings but those that only a watch over the requests can make.

        ``said`` is what `read_conversations` gives.
        """
        findings = Findings()
        everywhere = Counter(text for texts in said.values() for text in texts)
        findings.duplicated += sum(count - 1 for count in everywhere.values())
        for lane in lanes:
            rows = await self._rows(lane.owner, "job")
            jobs = {identifier(row["RowKey"]): row for row in rows}
            findings.lost += sum(job.job_id not in jobs for job in lane.jobs)
            findings.not_terminal += sum(row["status"] not in TERMINAL for row in rows)
            findings.failed += sum(row["status"] == "failed" for row in rows)
            await self._inspect_turns(lane, jobs, findings)
            if lane.thread is not None and jobs:
                (thread,) = await self._rows(lane.owner, "thread")
                texts = said.get(thread.get("conversation_id", ""), [])
                _inspect_thread(lane, jobs, texts, findings)
        return findings

    async def _inspect_turns(
        self, lane: Lane, jobs: dict[str, JsonObject], findings: Findings
    ) -> None:
        """Every message of a succeeded job has one turn that was answered."""
        rows = await self._rows(lane.owner, "turn")
        answered = Counter(row["question"] for row in rows if row["status"] == "succeeded")
        for job in _succeeded(lane.jobs, jobs):
            findings.lost += sum(answered[text] == 0 for text in job.messages)
        findings.duplicated += sum(count - 1 for count in answered.values())


def _succeeded(planned: list[PlannedJob], jobs: dict[str, JsonObject]) -> list[PlannedJob]:
    return [job for job in planned if jobs.get(job.job_id, {}).get("status") == "succeeded"]


def _inspect_thread(
    lane: Lane, jobs: dict[str, JsonObject], said: list[str], findings: Findings
) -> None:
    """What stands in the conversation is what the jobs brought, in their order."""
    submitted = [job for job in lane.jobs if job.job_id in jobs]
    accepted = sorted(submitted, key=lambda job: jobs[job.job_id]["sequence"])
    if not lane.by_intake and accepted != submitted:
        findings.out_of_order += 1
    for job in _succeeded(accepted, jobs):
        findings.lost += len(set(job.messages) - set(said))
    brought = [text for job in accepted for text in job.messages]
    places = [brought.index(text) for text in dict.fromkeys(said) if text in brought]
    findings.out_of_order += places != sorted(places)
