"""`Idempotency-Key`: a request that is made again has its effect once and gets the first answer.

Answers are stored with the effect that they report. Failures are stored where a retry would fail
again; a temporary one, such as an exhausted quota, leaves the key free for another attempt, and one
that comes before anything happened, such as a thread in use, leaves no trace.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from time import perf_counter
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request

from ..foundry.errors import FoundryError
from ..problems import Problem, ProblemKind, problem_from
from ..state.errors import DocumentTooLargeError, KeyInUseError, RowExistsError
from ..state.idempotency import Claim, IdempotencyKeys, KeptAnswer
from ..state.keys import Kind, is_id
from ..state.table import Change
from ..turns.command import AnsweredTurn, Keep, Outcome
from .answers import Answer, Streamed, accepts_events
from .request import Incoming, invalid_field
from .sse import replayed_stream

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotency-Replayed": "true"}
MAX_KEY_CHARS = 255

INVOCATION_ID = "x-ms-invocation-id"
"""The Functions host's header; the same at each send of one request."""
RESEND_PATIENCE_SECONDS = 10.0
"""Beyond the hold of a worker that died, whose claim is then taken over."""
RESEND_LOOK_SECONDS = 0.5

_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
"""Refusals that may be over when the request is made again."""

_NOT_KEPT = Problem(
    ProblemKind.ANSWER_NOT_KEPT,
    "The request was done before, but its answer was too long to keep. Read it where it is: in the "
    "messages of its thread.",
)

Act = Callable[[Claim | None], Awaitable[Answer | Streamed]]
"""Does what a request asks for; with a claim, it writes `kept` together with the effect."""


async def once(
    keys: IdempotencyKeys, incoming: Incoming, body: BaseModel | None, act: Act
) -> Answer | Streamed:
    """Answer with ``act``, or, where the request was made before, as then.

    Raises:
        ProblemError: 422, if the key is too long.
        KeyMismatchError: if the key belongs to another request.
        KeyInUseError: if the request is being worked on.
    """
    key = _key_of(incoming.request)
    if key is None:
        return await act(None)
    fingerprint = _fingerprint(incoming, body)
    about = _thread_named(incoming, body)
    claimed = await _claimed(keys, incoming, key, fingerprint, about)
    if isinstance(claimed, KeptAnswer):
        return _replay(claimed, incoming)
    try:
        return await _act(act, claimed)
    except RowExistsError:  # another process has taken over meanwhile and done it
        theirs = await keys.claim(incoming.owner, key, fingerprint)
        if isinstance(theirs, KeptAnswer):
            return _replay(theirs, incoming)
        await theirs.give_up()
        raise


def _key_of(request: Request) -> str | None:
    """The caller's key, or the host's id of a request without a body, which it may send again.

    https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script.Grpc/Server/RetryProxyHandler.cs
    """
    key = request.headers.get(HEADER)
    if key is None:
        has_body = request.headers.get("content-length", "0") != "0"
        if has_body or "transfer-encoding" in request.headers:
            return None
        invocation_id = request.headers.get(INVOCATION_ID)
        return f"{INVOCATION_ID} {invocation_id}" if invocation_id else None
    if not 1 <= len(key) <= MAX_KEY_CHARS:
        raise invalid_field(HEADER, f"must have 1 to {MAX_KEY_CHARS} characters")
    return key


async def _claimed(
    keys: IdempotencyKeys, incoming: Incoming, key: str, fingerprint: str, about: str | None
) -> Claim | KeptAnswer:
    """Claim a key; a request that the host sent again waits for the end of its first send."""
    waits_until = perf_counter() + keys.hold_seconds + RESEND_PATIENCE_SECONDS
    while True:
        try:
            return await keys.claim(incoming.owner, key, fingerprint, about)
        except KeyInUseError:
            if HEADER in incoming.request.headers or perf_counter() > waits_until:
                raise
        await asyncio.sleep(RESEND_LOOK_SECONDS)


async def _act(act: Act, claim: Claim) -> Answer | Streamed:
    try:
        answer = await act(claim)
    except Exception as error:
        recorded = claim.is_settled and isinstance(error, FoundryError)
        if not recorded:
            await claim.give_up()
        raise
    if isinstance(answer, Answer) and not claim.is_settled:
        await claim.record(_kept_answer(answer))
    return answer


def kept(claim: Claim | None, answer: Answer) -> list[Change]:
    """The change that stores an answer, for the transaction of the effect that it reports."""
    if claim is None:
        return []
    try:
        return [claim.finish(_kept_answer(answer))]
    except DocumentTooLargeError:
        about = {"thread_id": answer.body.get("thread_id")} if answer.body else {}
        return [claim.finish(KeptAnswer(_NOT_KEPT.status, {}, {**_NOT_KEPT.to_json(), **about}))]


def kept_outcome(
    claim: Claim | None, request_id: str, document: Callable[[AnsweredTurn], dict[str, Any]]
) -> Keep:
    """What keeps the answer to a request once its turn has ended; ``document`` is its body."""

    def changes(outcome: Outcome) -> Sequence[Change]:
        if claim is None:
            return ()
        if not isinstance(outcome, FoundryError):
            return kept(claim, Answer(document(outcome)))
        problem = problem_from(outcome)
        if _may_pass(problem.status):
            return [claim.reopen()]
        return kept(claim, Answer(problem.to_json(request_id), problem.status))

    return changes


def _may_pass(status: int) -> bool:
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING


def _kept_answer(answer: Answer) -> KeptAnswer:
    return KeptAnswer(answer.status, answer.headers, answer.body or {})


def _replay(answer: KeptAnswer, incoming: Incoming) -> Answer | Streamed:
    succeeded = answer.status < HTTPStatus.BAD_REQUEST
    if succeeded and "turn_id" in answer.body and accepts_events(incoming.request):
        return Streamed(replayed_stream(answer.body), REPLAYED)
    return Answer(dict(answer.body), answer.status, {**answer.headers, **REPLAYED})


def _thread_named(incoming: Incoming, body: BaseModel | None) -> str | None:
    """The thread that a request is about, in its path or its body."""
    named = incoming.path.get("thread_id") or getattr(body, "thread_id", None)
    return named if isinstance(named, str) and is_id(Kind.THREAD, named) else None


def _fingerprint(incoming: Incoming, body: BaseModel | None) -> str:
    """A digest of what a request asks for, the same however its body is written."""
    asked = body.model_dump(mode="json", exclude_defaults=True) if body is not None else {}
    request = incoming.request
    text = json.dumps([request.method, request.url.path, asked], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
