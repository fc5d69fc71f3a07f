"""The bodies of job requests, over HTTP and on the intake queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import AwareDatetime, Field, model_validator

from ..documents import json_integer
from ..foundry.models import Approval, ClientOutput, ClientTools, TurnRequest
from ..state.jobs import Job
from ..state.mailbox import CALLBACKS, MORE, NEW_THREAD, ORCHESTRATED, STOPS_LANE, read_work
from ..state.table import Row
from ..turns.body import MAX_NAME_CHARS, MessageText
from ..turns.options import TurnOptions, turn_request

MAX_MESSAGES = 50
"""In one job."""

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""Limits that Table Storage can store in any time zone."""

DEFAULT_MAX_ATTEMPTS = 5
JOB_ID = r"^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$"
OWNER = r"^[!-~]{1,128}$"
"""Escaping for a table key may make an owner three times as long; a key holds 512 characters."""


class SubmitJob(TurnOptions):
    """Body of `POST /jobs`."""

    message: MessageText | None = None
    """What the user says; or give `messages`."""

    messages: list[MessageText] | None = Field(default=None, min_length=1, max_length=MAX_MESSAGES)
    """Several messages, sent one after the other on one thread."""

    thread_id: Annotated[str, Field(max_length=MAX_NAME_CHARS)] | None = None
    """Thread to send on."""

    new_thread: bool = False
    """Start a thread; its id is in the answer. Several messages without `thread_id` imply it."""

    not_before: AwareDatetime | None = Field(default=None, ge=EARLIEST, le=LATEST)
    """Earliest time at which the job may run."""

    expires_in: Annotated[int, Field(ge=1, le=30 * 86_400), json_integer] | None = None
    """Seconds after which a job that has not started is cancelled."""

    max_attempts: Annotated[int, Field(ge=1, le=20), json_integer] = DEFAULT_MAX_ATTEMPTS
    """The most attempts for a message when Foundry fails temporarily."""

    stop_lane_on_failure: bool = False
    """If the job fails, cancel the later jobs that wait on the thread."""

    callback_url: str | None = Field(default=None, max_length=2048)
    """https address to call when the job has ended; its host must be among `CALLBACK_HOSTS`."""

    reply_queue: str | None = Field(default=None, max_length=63)
    """Queue to put the ended job on; it must be among `REPLY_QUEUES`."""

    @model_validator(mode="after")
    def _is_unambiguous(self) -> Self:
        given = (self.message is not None) + (self.messages is not None)
        if given > 1 or not (given or self.approvals):
            raise ValueError("give either message or messages")
        if self.thread_id is not None and self.new_thread:
            raise ValueError("give either thread_id or new_thread")
        return self

    @property
    def starts_thread(self) -> bool:
        """Whether the job starts a thread."""
        return self.thread_id is None and (self.new_thread or len(self.texts) > 1)

    def request(self, text: str) -> TurnRequest:
        """The request of the turn that sends one of the messages.

        Raises:
            ProblemError: 422, naming the field that is invalid.
        """
        return turn_request(self, text)

    @property
    def texts(self) -> list[str]:
        """The messages in order."""
        return self.messages or [self.message or ""]


class ItemsJob(SubmitJob):
    """A request of the OpenAI-compatible face that runs as a job. Callers cannot send it."""

    message: str | None = ""
    more: dict[str, Any] = Field(default={})
    """What `more_of` returned."""

    def request(self, text: str) -> TurnRequest:
        """The request of its turn."""
        return with_more(super().request(text), self.more)


def more_of(request: TurnRequest) -> dict[str, Any]:
    """What a request has that options do not, as JSON: items, functions and their outputs."""
    tools = request.client_tools
    return {
        "preceding": list(request.preceding),
        "parts": list(request.parts),
        "outputs": [[each.call_id, each.output] for each in request.outputs],
        "approvals": [[each.id, each.approve, each.reason] for each in request.approvals],
        "checks_format": request.checks_format,
        "functions": tools and [list(tools.definitions), tools.choice, tools.parallel],
    }


def with_more(request: TurnRequest, more: Mapping[str, Any]) -> TurnRequest:
    """A request with what `more_of` returned."""
    if not more:
        return request
    tools: ClientTools | None = None
    if more["functions"]:
        definitions, choice, parallel = more["functions"]
        tools = ClientTools(tuple(definitions), choice, parallel)
    return replace(
        request,
        preceding=tuple(more["preceding"]),
        parts=tuple(more["parts"]),
        outputs=tuple(ClientOutput(*each) for each in more["outputs"]),
        approvals=tuple(Approval(*each) for each in more.get("approvals", ())),
        client_tools=tools,
        checks_format=more.get("checks_format", True),
    )


def options_of(body: TurnOptions) -> dict[str, Any]:
    """The options of a message, for the body of a job that sends it."""
    return {name: getattr(body, name) for name in TurnOptions.model_fields}


def repeating(job: Job, asked: Row) -> dict[str, Any] | None:
    """The body of `POST /jobs` that submits the same as a job, given the row of what it was asked.

    None if the job was submitted at another address, whose body is another one.
    """
    work = read_work(asked)
    if not work or MORE in work or ORCHESTRATED in work:
        return None
    body: dict[str, Any] = {**work["options"]}
    if not body.get("approvals"):
        body["messages"] = work["messages"]
    if work.get(NEW_THREAD):
        body["new_thread"] = True
    elif job.thread_id:
        body["thread_id"] = job.thread_id
    if "max_attempts" in work:
        body["max_attempts"] = work["max_attempts"]
    also = {name: asked.values[name] for name in (*CALLBACKS, STOPS_LANE) if name in asked.values}
    return {**body, **also}


class ConversationJob(SubmitJob):
    """A message of a caller's conversation that runs as a job, answered as by `POST /orchestrate`.

    Callers cannot send it: it is made from a request to `/orchestrate`.
    """

    asks_any_model: ClassVar[bool] = True

    conversation_id: str
    """The caller's own id of the conversation; the job runs on its thread."""


class QueuedJob(SubmitJob):
    """A message on the intake queue: a job and the owner for whom it runs."""

    owner: str = Field(pattern=OWNER)
    """The owner of the job, its thread and its turns: with Entra, `tid:oid`."""

    job_id: str | None = Field(default=None, pattern=JOB_ID)
    """Id for the job, so that a message that is put twice runs once."""

    traceparent: str | None = Field(default=None, max_length=256)
    """W3C trace context of the producer, whose trace the job continues; ignored if unreadable."""
