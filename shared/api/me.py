"""`DELETE /me/data`: erasing all data of an owner."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from ..http.answers import Answer
from ..http.request import Incoming
from ..threads.erasure import Erasures


@dataclass(frozen=True, slots=True)
class OwnDataApi:
    """Handlers of `/me/data`."""

    erasures: Erasures

    async def erase(self, incoming: Incoming) -> Answer:
        """Erase the caller, or the owner whom an admin names; the answer is the receipt.

        202 while a turn of the owner still runs, or rows are still being deleted.
        """
        erasure = await self.erasures.erase(incoming.owner, incoming.caller)
        status = HTTPStatus.OK if erasure.erased_at else HTTPStatus.ACCEPTED
        return Answer(erasure.to_json(), status)
