"""Audit records of requests, including refused ones.

Turns and accepted jobs are recorded together with the rows they write. All other actions are
recorded here, in the background, so that no request waits for its audit record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from ..audit.trail import Action, AuditOutcome, AuditRecord, AuditTrail
from ..foundry.errors import FoundryError
from ..state.key_text import KEY_PREFIX
from ..state.owners import NO_OWNER
from .answers import Answer
from .request import Incoming

MAX_ID_CHARS = 128
"""A caller may send an unknown id of any length."""


@dataclass(frozen=True, slots=True)
class EndedAction:
    """An action and how its request was answered."""

    action: Action | None
    """None if it is not recorded."""
    about: Mapping[str, Any]
    """What the request names: ids, by `thread_id`, `job_id` and `key_id`."""
    answer: Answer
    error: Exception | None
    at: datetime
    latency: float
    """Seconds."""


def note(audit: AuditTrail, incoming: Incoming, ended: EndedAction) -> None:
    """Record how an action ended, unless it is already recorded with its rows."""
    action, principal, answer = ended.action, incoming.principal, ended.answer
    if action is None or _is_recorded(action, ended.error):
        return
    record = AuditRecord(
        action=action,
        outcome=_outcome(answer.status),
        code=(answer.body or {}).get("code") if ended.error else None,
        at=ended.at,
        owner=principal.owner,
        subject=principal.subject,
        actor=principal.actor,
        how=principal.how.value,
        face=incoming.face,
        thread_id=_id("thread_id", ended),
        job_id=_id("job_id", ended),
        key_id=_id("key_id", ended),
        request_id=incoming.request_id,
        latency=ended.latency,
    )
    if principal.owner == NO_OWNER:
        audit.note_anonymous(record)
    else:
        audit.note(record)


def _is_recorded(action: Action, error: Exception | None) -> bool:
    """Whether there is another record: of a started turn, an accepted job, or the tool called."""
    if action is Action.SEND:
        return error is None or isinstance(error, FoundryError)
    return action in {Action.JOB_SUBMIT, Action.MCP_REQUEST} and error is None


def _outcome(status: int) -> AuditOutcome:
    if status < HTTPStatus.BAD_REQUEST:
        return AuditOutcome.SUCCEEDED
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return AuditOutcome.REFUSED
    return AuditOutcome.FAILED


def _id(name: str, ended: EndedAction) -> str | None:
    """The id of the action's object; None if a caller sent a client key in its place."""
    named = ended.about.get(name) or (ended.answer.body or {}).get(name)
    if not isinstance(named, str) or KEY_PREFIX in named:
        return None
    return named[:MAX_ID_CHARS]
