"""`DELETE /me/data`: erasing everything of an owner."""

from __future__ import annotations

from http import HTTPStatus

from ..app import Services
from ..http.request import Incoming
from ..http.serve import Answer


async def erase(services: Services, incoming: Incoming) -> Answer:
    """Erase the caller, or the owner whom an admin names; the answer is the receipt.

    202 while something of it still runs or is being deleted.
    """
    erasure = await services.erasures.erase(incoming.owner, incoming.caller)
    status = HTTPStatus.OK if erasure.erased_at else HTTPStatus.ACCEPTED
    return Answer(erasure.to_json(), status)
