"""Counts what must not be, from the conversations Foundry keeps and the app's own tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from typing import Any

import httpx
from azure.data.tables.aio import TableClient

from shared.state.keys import identifier

from .plan import Lane

JsonObject = dict[str, Any]

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


@dataclass(frozen=True)
class Conversations:
    """The user messages in all conversations of the emulator."""

    said: dict[str, list[str]]

    @classmethod
    async def read(cls, foundry: httpx.AsyncClient) -> Conversations:
        """Read them over the wire."""
        said: dict[str, list[str]] = {}
        async for conversation in _pages(foundry, "conversations"):
            path = f"conversations/{conversation['id']}/items"
            items = [item async for item in _pages(foundry, path)]
            users = [item for item in items if item.get("role") == "user"]
            said[conversation["id"]] = [item["content"][0]["text"] for item in users]
        return cls(said)


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

    def __init__(self, table: TableClient) -> None:
        self._table = table

    async def count_open(self, lanes: list[Lane]) -> int:
        """How many jobs have not ended, or are not there yet."""
        left = 0
        for lane in lanes:
            rows = await self._rows(lane.owner, "job")
            ended = sum(row["status"] in TERMINAL for row in rows)
            left += len(lane.jobs) - ended
        return left

    async def inspect(self, lanes: list[Lane], conversations: Conversations) -> Findings:
        """All findings but those that only a watch over the requests can make."""
        findings = Findings()
        everywhere = Counter(text for said in conversations.said.values() for text in said)
        findings.duplicated += sum(count - 1 for count in everywhere.values())
        for lane in lanes:
            jobs = {row["job_id"]: row for row in await self._jobs(lane.owner)}
            findings.lost += sum(job.job_id not in jobs for job in lane.jobs)
            findings.not_terminal += sum(row["status"] not in TERMINAL for row in jobs.values())
            findings.failed += sum(row["status"] == "failed" for row in jobs.values())
            await self._inspect_turns(lane, jobs, findings)
            if lane.thread is not None and lane.jobs:
                await self._inspect_thread(lane, jobs, conversations, findings)
        return findings

    async def _inspect_turns(
        self, lane: Lane, jobs: dict[str, JsonObject], findings: Findings
    ) -> None:
        """Every message of a succeeded job has one turn that was answered."""
        rows = await self._rows(lane.owner, "turn")
        answered = Counter(row["question"] for row in rows if row["status"] == "succeeded")
        for job in lane.jobs:
            if jobs.get(job.job_id, {}).get("status") == "succeeded":
                findings.lost += sum(answered[text] == 0 for text in job.messages)
        findings.duplicated += sum(count - 1 for count in answered.values())

    async def _inspect_thread(
        self,
        lane: Lane,
        jobs: dict[str, JsonObject],
        conversations: Conversations,
        findings: Findings,
    ) -> None:
        """What stands in the conversation is what the jobs brought, in their order."""
        (thread,) = await self._rows(lane.owner, "thread")
        said = conversations.said.get(thread.get("conversation_id", ""), [])
        accepted = [job for job in lane.jobs if job.job_id in jobs]
        submitted = [job.job_id for job in accepted]
        accepted.sort(key=lambda job: int(jobs[job.job_id]["sequence"].value))
        if not lane.by_inlet and [job.job_id for job in accepted] != submitted:
            findings.out_of_order += 1
        must = [
            text
            for job in accepted
            if jobs[job.job_id]["status"] == "succeeded"
            for text in job.messages
        ]
        findings.lost += len(set(must) - set(said))
        order = {text: place for place, text in enumerate(m for j in accepted for m in j.messages)}
        places = [order[text] for text in dict.fromkeys(said)]
        findings.out_of_order += places != sorted(places)

    async def _jobs(self, owner: str) -> list[JsonObject]:
        """The jobs of an owner, with their ids as callers know them."""
        rows = await self._rows(owner, "job")
        for row in rows:
            row["job_id"] = identifier(row["RowKey"])
        return rows

    async def _rows(self, owner: str, kind: str) -> list[JsonObject]:
        condition = f"PartitionKey eq '{owner}' and RowKey ge '{kind}:' and RowKey lt '{kind};'"
        return [dict(row) async for row in self._table.query_entities(condition)]
