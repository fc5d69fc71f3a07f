"""`DELETE /me/data`: erases all data of an owner."""

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
        """Erase the data of the caller, or of the owner that an admin names; returns the receipt.

        The status is 202 while a turn of the owner runs or rows are still being deleted.
        """
        erasure = await self.erasures.erase(incoming.owner, incoming.caller)
        status = HTTPStatus.OK if erasure.erased_at else HTTPStatus.ACCEPTED
        return Answer(erasure.to_json(), status)
