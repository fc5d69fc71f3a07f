"""`Idempotency-Key`: a repeated request has its effect once and gets the first answer.

An answer is stored in the transaction of the effect that it reports. A permanent failure is stored
too. A temporary one, such as an exhausted quota, frees the key for another attempt, and a failure
before any effect, such as a busy thread, leaves no row.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request

from ..foundry.errors import FoundryError
from ..problems import Problem, ProblemError, ProblemKind, problem_from
from ..state.content import CONTENT_RECORDED
from ..state.errors import DocumentTooLargeError, KeyInUseError, RowExistsError
from ..state.idempotency import Claim, IdempotencyKeys, KeptAnswer
from ..state.keys import Kind, is_id
from ..state.table import Change
from ..turns.command import AnsweredTurn, Keep, Outcome
from .answers import Answer, Streamed
from .field_errors import invalid_field
from .request import Incoming

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotency-Replayed": "true"}
MAX_KEY_CHARS = 255

INVOCATION_ID = "x-ms-invocation-id"
"""Set by the Functions host, with the same value each time it sends one request."""
RESEND_PATIENCE_SECONDS = 10.0
"""How long a resent request waits beyond a claim's hold, to take over from a worker that died."""
RESEND_LOOK_SECONDS = 0.5

ATTEMPTS = "x-stainless-retry-count"
"""Header of the official OpenAI SDKs: how often they have sent a request before."""
JOIN_SECONDS = 210.0
"""How long such a request waits for the answer to an earlier one, without a byte of its own: Azure
cuts it off at 230 s."""

_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
"""Temporary refusals: a retry may succeed."""

_SORTED = json.JSONEncoder(sort_keys=True)

_NOT_KEPT = Problem(
    ProblemKind.ANSWER_NOT_KEPT,
    "The request succeeded before, but its answer was too long to store. Read it in the messages "
    "of its thread.",
)

_NO_TEXTS = Problem(
    ProblemKind.ANSWER_NOT_KEPT,
    "The request succeeded before, and was paid for, but its answer cannot be given again: this "
    "app stores no texts (RECORD_CONTENT).",
)

Replay = Callable[[Mapping[str, Any]], AsyncIterator[bytes]]
"""Streams the stored document of a turn."""

Act = Callable[[Claim | None], Awaitable[Answer | Streamed]]
"""Handles the request; with a claim, it writes the changes of `kept` together with the effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """A request, as far as its idempotency key is concerned."""

    owner: str
    key: str | None
    """None if the request may have its effect again."""
    fingerprint: str = ""
    """A `digest` of what the request does."""
    thread_id: str | None = None
    """The thread that it names."""
    is_from_host: bool = False
    """Whether the key is the host's, which resends a request before the first one has ended."""
    replay: Replay | None = None
    """None if the caller takes no stream."""
    attempt: int | None = None
    """The retry count of an SDK that sends no key; the key is then made from what is asked."""
    needs_texts: bool = False
    """Whether a stored answer without its texts is useless to the caller."""
    joins_for: float = JOIN_SECONDS
    """Seconds that such a request waits for the answer to an earlier one."""


def digest(*identity: Any) -> str:
    """A digest of what a request does, given as JSON values: however its body is formatted."""
    return _sha256(_SORTED.encode(identity))


def keyed(
    incoming: Incoming,
    body: BaseModel | None,
    preference: str = "",
    replay: Replay | None = None,
    *,
    joins: bool = False,
    needs_texts: bool = False,
) -> Keyed:
    """An HTTP request with its `Idempotency-Key`.

    A ``preference`` that changes what the request does belongs to its identity. If it ``joins``, a
    request without a key that an SDK sends again gets the answer to the one that it repeats. For
    ``needs_texts``, see `Keyed`.

    Raises:
        ProblemError: 422, if the key is too long.
    """
    request = incoming.request
    given = request.headers.get(HEADER)
    key = _checked(given) if given is not None else _key_of_host(request)
    attempt = _attempt(request) if joins and key is None else None
    if key is None and attempt is None:
        return Keyed(owner=incoming.owner, key=None)
    path = request.scope["path"]  # a tenth of the time of `request.url`
    if attempt is not None:  # an SDK sends the same bytes again
        fingerprint = _sha256(f"{request.method} {path} {incoming.body_digest}")
    else:
        values = body.model_dump(mode="json", exclude_defaults=True) if body is not None else {}
        fingerprint = digest(request.method, path, values, *filter(None, [preference]))
    named = incoming.path.get("thread_id") or (vars(body).get("thread_id") if body else None)
    return Keyed(
        owner=incoming.owner,
        key=key,
        attempt=attempt,
        fingerprint=fingerprint,
        thread_id=named if isinstance(named, str) and is_id(Kind.THREAD, named) else None,
        is_from_host=given is None,
        replay=replay,
        needs_texts=needs_texts,
    )


async def once(keys: IdempotencyKeys, request: Keyed, act: Act) -> Answer | Streamed:
    """Run ``act``, or return the first answer if the request was already handled.

    Raises:
        KeyMismatchError: if the key belongs to another request.
        KeyInUseError: if the request is still running.
    """
    key = request.key if request.attempt is None else f"{ATTEMPTS} {request.fingerprint}"
    if key is None:
        return await act(None)
    claimed = await _claimed(keys, request, key)
    if isinstance(claimed, KeptAnswer):
        return _replay(claimed, request)
    try:
        return await _act(act, claimed)
    except RowExistsError:  # another process took over the claim and finished
        theirs = await keys.claim(request.owner, key, request.fingerprint)
        if isinstance(theirs, KeptAnswer):
            return _replay(theirs, request)
        await theirs.give_up()
        raise


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _key_of_host(request: Request) -> str | None:
    """The host's invocation id, for a request without a body, which it may resend.

    https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script.Grpc/Server/RetryProxyHandler.cs
    """
    has_body = request.headers.get("content-length", "0") != "0"
    if has_body or "transfer-encoding" in request.headers:
        return None
    invocation_id = request.headers.get(INVOCATION_ID)
    return f"{INVOCATION_ID} {invocation_id}" if invocation_id else None


def _checked(key: str) -> str:
    """The caller's key, if it is not too long."""
    if not 1 <= len(key) <= MAX_KEY_CHARS:
        raise invalid_field(HEADER, f"must have 1 to {MAX_KEY_CHARS} characters")
    return key


def _attempt(request: Request) -> int | None:
    """The number of a request among the attempts of its SDK; None of other clients."""
    number = request.headers.get(ATTEMPTS, "")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 4 else None


async def _claimed(keys: IdempotencyKeys, request: Keyed, key: str) -> Claim | KeptAnswer:
    """Claim a key; a request that was sent again waits until the first one has ended."""
    asked = (request.owner, key, request.fingerprint, request.thread_id)
    if request.attempt == 0:
        return keys.first_attempt(*asked)
    claim = keys.claim if request.attempt is None else keys.later_attempt
    waits_until = perf_counter() + _patience(keys, request)
    while True:
        try:
            return await claim(*asked)
        except KeyInUseError:
            if perf_counter() > waits_until:
                raise
        await asyncio.sleep(RESEND_LOOK_SECONDS)


def _patience(keys: IdempotencyKeys, request: Keyed) -> float:
    """Seconds to wait for the end of the request that this one repeats."""
    if request.attempt is not None:
        return request.joins_for
    return keys.hold_seconds + RESEND_PATIENCE_SECONDS if request.is_from_host else 0.0


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
    """The change that stores an answer, for the transaction of the effect it reports."""
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
    """The function that stores the answer when the turn ends; ``document`` makes its body."""

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


def _replay(answer: KeptAnswer, request: Keyed) -> Answer | Streamed:
    succeeded = answer.status < HTTPStatus.BAD_REQUEST
    if request.needs_texts and succeeded and answer.body.get(CONTENT_RECORDED) is False:
        raise ProblemError(_NO_TEXTS)
    if succeeded and request.replay:
        return Streamed(request.replay(answer.body), REPLAYED)
    return Answer(dict(answer.body), answer.status, {**answer.headers, **REPLAYED})
