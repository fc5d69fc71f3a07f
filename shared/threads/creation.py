"""Creates the threads of callers, first in Foundry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from ..foundry.service import FoundryService
from ..state.lanes import Clock
from ..state.threads import Thread


@dataclass(frozen=True, slots=True)
class Creation:
    """Creates threads."""

    foundry: FoundryService
    clock: Clock

    async def start(
        self,
        owner: str,
        thread_id: str,
        metadata: Mapping[str, str],
        expires_in: int | None = None,
    ) -> Thread:
        """Create a thread in Foundry; its row is not stored yet."""
        ref = await self.foundry.create_thread(dict(metadata))
        now = self.clock()
        return Thread(
            thread_id=thread_id,
            owner=owner,
            created_at=now,
            last_accessed=now,
            agent_id=self.foundry.config.agent_id or None,
            metadata=metadata,
            conversation_id=ref.conversation_id,
            expires_at=now + timedelta(seconds=expires_in) if expires_in else None,
        )
