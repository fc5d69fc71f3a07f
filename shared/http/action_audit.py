"""What the border puts on record: actions that end with their answer, and calls that are refused.

Turns and accepted jobs are recorded where they are written, together with that write. All else is
recorded here, behind the answer, so that nobody waits for it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from ..app import Services
from ..audit.trail import Action, AuditOutcome, AuditRecord
from ..foundry.errors import FoundryError
from ..state.owners import NOBODY
from .request import Incoming

if TYPE_CHECKING:
    from .serve import Answer

MAX_ID_CHARS = 128
"""Ids that do not exist come from outside and may be of any length."""


def note(
    services: Services,
    incoming: Incoming,
    action: Action,
    answer: Answer,
    error: Exception | None,
    seconds: float,
) -> None:
    """Put on record how an action ended, where that is not on record yet."""
    if _is_recorded(action, error):
        return
    principal, body = incoming.principal, answer.body or {}
    record = AuditRecord(
        action=action,
        outcome=_outcome(answer.status),
        code=body.get("code") if error else None,
        at=services.clock(),
        owner=principal.owner,
        subject=principal.subject,
        actor=principal.actor,
        how=principal.how.value,
        thread_id=_id("thread_id", incoming, answer),
        job_id=_id("job_id", incoming, answer),
        request_id=incoming.request_id,
        latency=seconds,
    )
    if principal.owner == NOBODY:
        services.audit.note_anonymous(record)
    else:
        services.audit.note(record)


def _is_recorded(action: Action, error: Exception | None) -> bool:
    """A turn that was begun, and a job that was accepted, are on record with what they wrote."""
    if action is Action.SEND:
        return error is None or isinstance(error, FoundryError)
    return action is Action.JOB_SUBMIT and error is None


def _outcome(status: int) -> AuditOutcome:
    if status < HTTPStatus.BAD_REQUEST:
        return AuditOutcome.SUCCEEDED
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return AuditOutcome.REFUSED
    return AuditOutcome.FAILED


def _id(name: str, incoming: Incoming, answer: Answer) -> str | None:
    named = incoming.path.get(name) or (answer.body or {}).get(name)
    return named[:MAX_ID_CHARS] if isinstance(named, str) else None
