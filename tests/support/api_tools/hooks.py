"""What schemathesis must know of this app: short waits, streams, and the codes of problems."""

import uuid
from typing import Any

import hypothesis
import schemathesis

LONGEST_WAIT_SECONDS = 1
"""A valid wait for a job that may not run yet takes minutes."""

STREAM = "text/event-stream"


def _no_target(*_: Any, **__: Any) -> float:
    """Do not lean towards accepted requests: that tries smaller forms of them, and takes hours."""
    return 0.0


hypothesis.target = _no_target


@schemathesis.hook
def map_query(_context: Any, query: Any) -> Any:
    """Shorten valid waits."""
    if isinstance(query, dict) and isinstance(query.get("wait"), int):
        query["wait"] = min(query["wait"], LONGEST_WAIT_SECONDS)
    return query


@schemathesis.hook
def filter_query(_context: Any, query: Any) -> bool:
    """Leave out `by=`: a list of one empty text is written so, but also a valid empty list."""
    return not isinstance(query, dict) or query.get("by") != ""


@schemathesis.hook
def before_call(_context: Any, case: Any, _arguments: Any) -> None:
    """Ask for a stream in every second request that can have one; act for no other owner.

    Only admins may name an owner, and neither caller is one. Valid requests have an idempotency key
    of their own: one that another request had is refused.
    """
    if case.meta is not None and case.meta.generation.mode.is_positive:
        if case.query:
            case.query = {name: text for name, text in case.query.items() if name != "owner"}
        if "Idempotency-Key" in (case.headers or {}):
            case.headers = {**case.headers, "Idempotency-Key": uuid.uuid4().hex}
    answers = case.operation.definition.raw["responses"]
    if STREAM in answers.get("200", {}).get("content", {}) and len(repr(case.body)) % 2:
        case.headers = {**(case.headers or {}), "accept": STREAM}


@schemathesis.check
def problem_code_is_declared(_context: Any, response: Any, case: Any) -> None:
    """A problem has one of the codes that its operation declares for the status."""
    if "problem+json" not in (response.headers.get("content-type") or [""])[0]:
        return
    document = response.json()
    if document["code"] == "method_not_allowed":
        return
    answer = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    declared = answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
    if document["code"] not in declared:
        raise AssertionError(
            f"{case.operation.definition.raw['operationId']} does not declare "
            f"{response.status_code} {document['code']}: {document['detail']}"
        )
