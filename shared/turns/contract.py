"""The bodies that callers send, over HTTP or on a queue, and the limits they must keep."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..foundry.asking import MAX_METADATA_KEY, MAX_METADATA_TEXT
from ..state.threads import MAX_METADATA_PAIRS
from ..text import clean_json

MAX_MESSAGE_CHARS = 1024 * 1024
MAX_MESSAGES = 50
"""In one job."""

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""Moments that Table Storage can hold, in any time zone."""

DEFAULT_MAX_ATTEMPTS = 5
JOB_ID = r"^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$"
OWNER = r"^[!-~]{1,128}$"
"""Escaped for a table key, an owner may grow threefold; a key holds 512 characters."""

MAX_IMAGES = 10

MAX_INTEGER = 2**31 - 1
"""As the services on the way take whole numbers."""

MAX_TOOLS = 128
"""As many as a Foundry agent may have."""

MAX_NAME_CHARS = 128

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_LAYOUT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _is_printable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    return text


def _is_text(text: str) -> str:
    if _CONTROL_BUT_LAYOUT.search(text):
        raise ValueError("must not contain control characters but tab and line end")
    return text


def _is_json(document: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(document, allow_nan=False)
    except ValueError:
        raise ValueError("must not contain NaN, Infinity or numbers without an end") from None
    return document


Name = Annotated[str, Field(min_length=1), AfterValidator(_is_printable)]
MetadataKey = Annotated[Name, Field(max_length=MAX_METADATA_KEY)]
MetadataText = Annotated[str, Field(max_length=MAX_METADATA_TEXT), AfterValidator(_is_text)]
Metadata = Annotated[dict[MetadataKey, MetadataText], Field(max_length=MAX_METADATA_PAIRS)]
MessageText = Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE_CHARS)]


_NULL_IS_DEFAULT = (
    "domain",
    "tools",
    "images",
    "metadata",
    "new_thread",
    "max_attempts",
    "stop_lane_on_failure",
)
"""Fields with a default that is not null; a test holds that these are all."""


class Body(BaseModel):
    """A request body; a field it does not know is an error, not a surprise."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        strict=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Read a body as it came.

        Raises:
            ValidationError: if it is not JSON, or not such a body.
        """
        return cls.model_validate_json(clean_json(content))

    @field_validator(*_NULL_IS_DEFAULT, mode="before", check_fields=False)
    @classmethod
    def _null_is_default(cls, value: object, info: ValidationInfo) -> object:
        """Take null as if the field were left out, which many JSON libraries write instead."""
        field = cls.model_fields[info.field_name or ""]
        if value is None and not field.is_required():
            return field.get_default(call_default_factory=True)
        return value


class TurnOptions(Body):
    """How a message should be answered; what is left out is as configured."""

    domain: Name = Field(default="general", max_length=64)
    """Field the message is about; counted in metrics, told to a model called directly."""

    system_prompt: str | None = Field(default=None, max_length=256 * 1024)
    """Instructions for a model called directly; an agent has its own."""

    tools: list[Annotated[Name, Field(max_length=MAX_NAME_CHARS)]] = Field(
        default=[], max_length=MAX_TOOLS
    )
    """Names of tools the model may use."""

    model: Name | None = Field(default=None, max_length=MAX_NAME_CHARS)
    """Model deployment, in place of the configured one; one that the settings allow."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature."""

    max_tokens: int | None = Field(default=None, ge=1, le=MAX_INTEGER)
    """The most tokens the answer may have; at most what the settings allow."""

    top_p: float | None = Field(default=None, ge=0, le=1)
    """Nucleus sampling."""

    images: list[str] = Field(default=[], max_length=MAX_IMAGES)
    """Images to look at: https or data URLs of PNG, JPEG or WEBP; the model must take them."""

    response_format: Annotated[dict[str, Any], AfterValidator(_is_json)] | None = None
    """A JSON schema that the answer must follow, as `{"type": "json_schema", ...}` or bare."""

    metadata: Metadata = {}
    """Up to 16 pairs kept with the turn; keys of at most 64, texts of at most 512 characters."""


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

    thread_id: Annotated[str, Field(max_length=MAX_NAME_CHARS)] | None = None
    """Thread to send on."""

    new_thread: bool = False
    """Start a thread; its id is in the answer. Several messages do so unless told where to go."""

    not_before: AwareDatetime | None = Field(default=None, ge=EARLIEST, le=LATEST)
    """Moment before which the job must not run."""

    expires_in: int | None = Field(default=None, ge=1, le=30 * 86_400)
    """Seconds after which a job that has not begun is not wanted any more."""

    max_attempts: int = Field(default=DEFAULT_MAX_ATTEMPTS, ge=1, le=20)
    """How often a message is tried when Foundry fails in a way that may pass."""

    stop_lane_on_failure: bool = False
    """If the job fails, cancel the jobs that wait behind it on the thread."""

    callback_url: str | None = Field(default=None, max_length=2048)
    """https address to call when the job has ended; its host must be among `CALLBACK_HOSTS`."""

    reply_queue: str | None = Field(default=None, max_length=63)
    """Queue to put the ended job on; it must be among `REPLY_QUEUES`."""

    @model_validator(mode="after")
    def _is_unambiguous(self) -> Self:
        if (self.message is None) == (self.messages is None):
            raise ValueError("give either message or messages")
        if self.thread_id is not None and self.new_thread:
            raise ValueError("give either thread_id or new_thread")
        return self

    @property
    def starts_thread(self) -> bool:
        """Whether the job starts a thread."""
        return self.thread_id is None and (self.new_thread or len(self.texts) > 1)

    @property
    def texts(self) -> list[str]:
        """The messages in order."""
        return self.messages or [self.message or ""]


class QueuedJob(SubmitJob):
    """A message on the inlet queue: a job and on whose behalf it runs."""

    owner: str = Field(pattern=OWNER)
    """The tenant and principal, `tid:oid`, that everything the job makes will belong to."""

    job_id: str | None = Field(default=None, pattern=JOB_ID)
    """Id to give the job, so that the producer can put the message twice and run it once."""

    traceparent: str | None = Field(default=None, max_length=256)
    """W3C trace context of the producer, whose trace the job continues; ignored if unreadable."""
