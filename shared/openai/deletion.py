"""Deletes stored responses, with the texts of their turns."""

from __future__ import annotations

from dataclasses import dataclass

from ..foundry.service import FoundryService
from ..state.errors import RowMissingError
from ..state.idempotency import forget_answers
from ..state.jobs import Jobs
from ..state.keys import newest_first, partition_key, turn_key
from ..state.responses import Responses, StoredResponse
from ..state.row_deletion import delete_if_there
from ..state.table import Change, Operation, Table
from ..state.turns import stored_responses
from .response_wire import ulid_of

_NO_TEXTS = {"question": "", "answer": "", "error": ""}


@dataclass(frozen=True, slots=True)
class Deletion:
    """Deletes stored responses."""

    table: Table
    responses: Responses
    jobs: Jobs
    foundry: FoundryService

    async def delete(self, owner: str, stored: StoredResponse) -> None:
        """Delete a response that has ended: in Foundry, where it stands alone, and here.

        The turn keeps its ids and counts, without texts. The answer to an `Idempotency-Key` is
        forgotten too.
        """
        partition = partition_key(owner)
        turn_ids = [f"turn_{ulid_of(stored.response_id)}"]
        if stored.job_id is not None:
            job = await self.jobs.get(owner, stored.job_id)
            turn_ids = [result["turn_id"] for result in job.results]
        for turn_id in turn_ids:
            await self._forget_turn(partition, stored.thread_id, turn_id)
        if stored.job_id is not None:
            await delete_if_there(self.table, partition, newest_first(stored.job_id))
        await forget_answers(self.table, owner, stored.response_id)
        await self.responses.delete(owner, stored.response_id)

    async def _forget_turn(self, partition: str, thread_id: str | None, turn_id: str) -> None:
        key = turn_key(thread_id, turn_id)
        row = await self.table.get(partition, key)
        if row is None:  # its retention is over
            return
        if thread_id is None:
            await self.foundry.delete_responses(stored_responses(row))
        try:
            await self.table.write(partition, [Change(Operation.MERGE, key, _NO_TEXTS)])
        except RowMissingError:
            return
