"""The tools, in their fixed order: what each takes and returns, and the code of its route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from ..api.jobs import JobsApi, JobsPage, JobsQuery
from ..api.messages import Encode, MessagesApi, SendMessage
from ..api.threads import (
    CreateThread,
    MessagesPage,
    MessagesQuery,
    ThreadDocument,
    ThreadsApi,
    ThreadsPage,
    ThreadsQuery,
)
from ..api.usage import UsageApi, UsageDocument, UsageQuery
from ..audit.trail import Action
from ..documents import JsonObject
from ..http.answers import Answer, Streamed
from ..http.idempotency import Keyed, digest
from ..http.query import Query, read_arguments
from ..http.request import Incoming, read_body
from ..jobs.job_document import JobDocument
from ..jobs.requests import SubmitJob
from ..state.keys import Kind, is_id
from ..text import to_json_bytes
from ..turns.body import Body
from ..turns.documents import TurnDocument, turn_document
from .arguments import Acting, OfJob, OfThread, OnJob, OnThread

KEY_RULE = (
    " Give each call an idempotency_key of its own. If an answer is lost, repeat the call with the "
    "same key and the same arguments: it acts once, and a call without a key acts again."
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the tools use."""

    messages: MessagesApi
    threads: ThreadsApi
    jobs: JobsApi
    usage: UsageApi


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool with valid arguments."""

    incoming: Incoming
    body: Any
    """As the route's body or query has it."""
    own: Any
    """The arguments that only the tool has."""
    keyed: Keyed
    encode: Encode | None
    """Makes a stream of a turn; None if the client takes none."""

    @property
    def owner(self) -> str:
        """Whose call it is."""
        return self.incoming.owner


Run = Callable[[Parts, Call], Awaitable[Answer | Streamed]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool."""

    name: str
    title: str
    description: str
    takes: type[Body] | type[Query]
    """The body or the query of the route that does the same."""
    own: type[Query] = Query
    """The arguments that only the tool has."""
    returns: Any
    """The type of the document."""
    action: Action
    """In the audit trail, as the route's."""
    run: Run
    hints: Mapping[str, bool]
    """Annotations, by which clients decide when to ask their user."""

    @property
    def acts(self) -> bool:
        """Whether it takes an idempotency key."""
        return issubclass(self.own, Acting)

    def call(self, incoming: Incoming, arguments: JsonObject, encode: Encode | None) -> Call:
        """The call with validated arguments.

        Raises:
            ProblemError: naming each invalid argument.
        """
        mine = {name: value for name, value in arguments.items() if name in self.own.model_fields}
        rest = {name: value for name, value in arguments.items() if name not in mine}
        own, body = read_arguments(self.own, mine), self._read(rest)
        identity = (self.name, _values(own, {"idempotency_key", "wait"}), _values(body))
        thread_id = arguments.get("thread_id")
        keyed = Keyed(
            owner=incoming.owner,
            key=own.idempotency_key if isinstance(own, Acting) else None,
            fingerprint=digest("tool", *identity),
            thread_id=thread_id if thread_id and is_id(Kind.THREAD, thread_id) else None,
        )
        return Call(incoming, body, own, keyed, encode)

    def _read(self, arguments: JsonObject) -> Body | Query:
        if issubclass(self.takes, Body):
            return read_body(self.takes, to_json_bytes(arguments))
        return read_arguments(self.takes, arguments)


def _values(model: BaseModel, but: set[str] | None = None) -> JsonObject:
    return model.model_dump(mode="json", exclude_defaults=True, exclude=but)


async def _ask_agent(parts: Parts, call: Call) -> Answer | Streamed:
    own: OnThread = call.own
    with parts.threads.limits.waiting(call.owner, own.wait):
        command = parts.messages.command(
            call.incoming,
            call.body,
            call.body.message,
            streamed=call.encode is not None,
            thread_id=own.thread_id,
            wait=own.wait,
        )
        if call.encode is None:
            return await parts.messages.answer(call.keyed, command, turn_document)
        return await parts.messages.answer(call.keyed, command, turn_document, call.encode)


async def _start_thread(parts: Parts, call: Call) -> Answer | Streamed:
    return await parts.threads.start(call.keyed, call.body)


async def _list_threads(parts: Parts, call: Call) -> Answer:
    return Answer(await parts.threads.page(call.owner, call.body))


async def _get_messages(parts: Parts, call: Call) -> Answer:
    return Answer(await parts.threads.history(call.owner, call.own.thread_id, call.body))


async def _submit_job(parts: Parts, call: Call) -> Answer | Streamed:
    return await parts.jobs.accept(call.keyed, call.body, call.incoming.caller)


async def _get_job(parts: Parts, call: Call) -> Answer:
    return Answer(await parts.jobs.awaited(call.owner, call.own.job_id, call.own.wait))


async def _cancel_job(parts: Parts, call: Call) -> Answer | Streamed:
    return await parts.jobs.stop(call.keyed, call.own.job_id)


async def _list_jobs(parts: Parts, call: Call) -> Answer:
    return Answer(await parts.jobs.page(call.owner, call.body))


async def _usage(parts: Parts, call: Call) -> Answer:
    return Answer(await parts.usage.report(call.incoming, call.body))


READS = {"readOnlyHint": True, "openWorldHint": False}
ADDS = {"readOnlyHint": False, "destructiveHint": False, "openWorldHint": False}

TOOLS = (
    Tool(
        name="ask_agent",
        title="Ask the agent",
        description=(
            "Sends a message to the agent and returns its answer, with the tools it used and the "
            "tokens it cost. With thread_id, the agent knows the thread's history; one turn runs "
            "on a thread at a time. If the call is cut off, the turn still ends and is recorded. "
            "For work of more than a few minutes, use submit_job." + KEY_RULE
        ),
        takes=SendMessage,
        own=OnThread,
        returns=TurnDocument,
        action=Action.SEND,
        run=_ask_agent,
        hints={**ADDS, "openWorldHint": True},
    ),
    Tool(
        name="start_thread",
        title="Start a thread",
        description=(
            "Starts a conversation, whose history the agent knows in each later ask_agent or "
            "submit_job with its thread_id." + KEY_RULE
        ),
        takes=CreateThread,
        own=Acting,
        returns=ThreadDocument,
        action=Action.THREAD_CREATE,
        run=_start_thread,
        hints=ADDS,
    ),
    Tool(
        name="list_threads",
        title="List threads",
        description="Lists your threads, newest first; by metadata, if it is given.",
        takes=ThreadsQuery,
        returns=ThreadsPage,
        action=Action.THREAD_READ,
        run=_list_threads,
        hints=READS,
    ),
    Tool(
        name="get_messages",
        title="Read a thread",
        description="Returns the messages of a thread, newest first.",
        takes=MessagesQuery,
        own=OfThread,
        returns=MessagesPage,
        action=Action.THREAD_READ,
        run=_get_messages,
        hints=READS,
    ),
    Tool(
        name="submit_job",
        title="Submit a job",
        description=(
            "Accepts one message, or several that are sent one after the other, to be answered "
            "later, and returns the job at once. An accepted job survives restarts and ends in "
            "exactly one final state: read it with get_job." + KEY_RULE
        ),
        takes=SubmitJob,
        own=Acting,
        returns=JobDocument,
        action=Action.JOB_SUBMIT,
        run=_submit_job,
        hints={**ADDS, "openWorldHint": True},
    ),
    Tool(
        name="get_job",
        title="Read a job",
        description=(
            "Returns a job with its state and its answers so far; with wait, when the job ends, or "
            "after that many seconds."
        ),
        takes=Query,
        own=OfJob,
        returns=JobDocument,
        action=Action.JOB_READ,
        run=_get_job,
        hints=READS,
    ),
    Tool(
        name="cancel_job",
        title="Cancel a job",
        description=(
            "Cancels a job: a waiting one ends at once, a running one before its next message. "
            "Answers that it has already are kept." + KEY_RULE
        ),
        takes=Query,
        own=OnJob,
        returns=JobDocument,
        action=Action.JOB_CANCEL,
        run=_cancel_job,
        hints={**ADDS, "destructiveHint": True},
    ),
    Tool(
        name="list_jobs",
        title="List jobs",
        description="Lists your jobs, newest first; those in one state, if it is given.",
        takes=JobsQuery,
        returns=JobsPage,
        action=Action.JOB_READ,
        run=_list_jobs,
        hints=READS,
    ),
    Tool(
        name="usage",
        title="Read usage and cost",
        description=(
            "Returns your requests, tokens and cost over a range of days, in total and grouped by "
            "day, model or other dimensions."
        ),
        takes=UsageQuery,
        returns=UsageDocument,
        action=Action.USAGE_READ,
        run=_usage,
        hints=READS,
    ),
)
"""Clients and models cache the list: a new tool goes to the end."""

BY_NAME = {tool.name: tool for tool in TOOLS}
