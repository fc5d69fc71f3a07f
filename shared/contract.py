"""The bodies that callers send, over HTTP or on a queue, and the limits they must keep."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .foundry.models import TurnRequest
from .state.threads import MAX_METADATA_PAIRS

MAX_MESSAGE_CHARS = 1024 * 1024
MAX_MESSAGES = 50
"""In one job."""

MAX_TOOLS = 128
"""As many as a Foundry agent may have."""

MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
MetadataText = Annotated[str, Field(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataText], Field(max_length=MAX_METADATA_PAIRS)]
MessageText = Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE_CHARS)]


class Body(BaseModel):
    """A request body; a field it does not know is an error, not a surprise."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True
    )


class TurnOptions(Body):
    """How a message should be answered; what is left out is as configured."""

    domain: str = Field(default="general", min_length=1, max_length=64)
    """Field the message is about; counted in metrics, told to a model called directly."""

    system_prompt: str | None = Field(default=None, max_length=256 * 1024)
    """Instructions for a model called directly; an agent has its own."""

    tools: list[str] = Field(default=[], max_length=MAX_TOOLS)
    """Names of tools the model may use."""

    model: str | None = Field(default=None, min_length=1, max_length=128)
    """Model deployment, in place of the configured one."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature."""

    max_tokens: int | None = Field(default=None, ge=1)
    """The most tokens the answer may have."""

    top_p: float | None = Field(default=None, ge=0, le=1)
    """Nucleus sampling."""

    metadata: Metadata = {}
    """Up to 16 pairs kept with the turn; keys of at most 64, texts of at most 512 characters."""

    def turn_request(self, message: str) -> TurnRequest:
        """The turn that asks ``message`` with these options."""
        return TurnRequest(
            message=message,
            domain=self.domain,
            system_prompt=self.system_prompt,
            tools=tuple(self.tools),
            model=self.model,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            top_p=self.top_p,
            metadata=self.metadata,
        )


class SendMessage(TurnOptions):
    """Body of `POST /messages` and `POST /threads/{thread_id}/messages`."""

    message: MessageText
    """What the user says; at most 1,048,576 characters."""


class CreateThread(Body):
    """Body of `POST /threads`."""

    metadata: Metadata = {}
    """Up to 16 pairs to find the thread by."""

    expires_in: int | None = Field(default=None, ge=60, le=10 * 365 * 86_400)
    """Seconds after which the thread is gone."""


class PatchThread(Body):
    """Body of `PATCH /threads/{thread_id}`."""

    metadata: Annotated[
        dict[MetadataKey, MetadataText | None], Field(max_length=2 * MAX_METADATA_PAIRS)
    ]
    """Pairs to add or change; null removes one."""


class SubmitJob(TurnOptions):
    """Body of `POST /jobs`."""

    message: MessageText | None = None
    """What the user says; or give `messages`."""

    messages: list[MessageText] | None = Field(default=None, min_length=1, max_length=MAX_MESSAGES)
    """Several messages, sent one after the other on one thread."""

    thread_id: str | None = None
    """Thread to send on."""

    new_thread: bool = False
    """Start a thread; its id is in the answer. Several messages do so unless told where to go."""

    @model_validator(mode="after")
    def _is_unambiguous(self) -> Self:
        if (self.message is None) == (self.messages is None):
            raise ValueError("give either message or messages")
        if self.thread_id is not None and self.new_thread:
            raise ValueError("give either thread_id or new_thread")
        return self

    @property
    def texts(self) -> list[str]:
        """The messages in order."""
        return self.messages or [self.message or ""]


class QueuedJob(SubmitJob):
    """A message on the inlet queue: a job and on whose behalf it runs."""

    owner: str = Field(min_length=1, max_length=256)
    """The tenant and principal, `tid:oid`, that everything the job makes will belong to."""

    job_id: str | None = Field(default=None, pattern=r"^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$")
    """Id to give the job, so that the producer can put the message twice and run it once."""
