"""The body of `POST /responses`.

https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ..http.field_errors import invalid_field
from ..turns.body import MAX_NAME_CHARS, Metadata, MetadataText
from .asked import Asked
from .fields import Open, RefusedFields, ignored_in
from .items import InputItem
from .said import MAX_ITEMS, Said
from .tools import AskedTools, read_tools

MAX_ID_CHARS = 128

REFUSED = RefusedFields(
    harmless={"top_logprobs": (0,), "modalities": (["text"],), "max_tool_calls": ()},
    reasons={
        "top_logprobs": "the models of this app report no log probabilities",
        "modalities": "answers are text",
        "audio": "answers are text",
        "prompt": "this app stores no prompts; send instructions",
    },
)

FIELDS = {
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "system_prompt": "instructions",
}

_Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]


class TextOptions(Open):
    """How the text of the answer is formed."""

    without_effect: ClassVar[Mapping[str, tuple[Any, ...]]] = {"verbosity": ("medium",)}

    format: dict[str, Any] | None = None


class ConversationName(Open):
    """A conversation by its id."""

    id: _Id


class StreamOptions(Open):
    """What a stream contains."""

    without_effect: ClassVar[Mapping[str, tuple[Any, ...]]] = {"include_obfuscation": (False,)}


class ResponseCreate(Open):
    """Body of `POST /responses`; fields that it does not have are ignored."""

    without_effect: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **REFUSED.harmless,
        "include": ([],),
        "truncation": ("disabled",),
        "service_tier": ("auto", "default"),
        "frequency_penalty": (0, 0.0),
        "presence_penalty": (0, 0.0),
        "reasoning": ({},),
    }

    input: str | list[InputItem] = Field(max_length=8 * 1024 * 1024)
    model: str = Field(min_length=1, max_length=2 * MAX_NAME_CHARS)
    instructions: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    max_output_tokens: int | None = Field(default=None, ge=1)
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: _Id | None = None
    conversation: _Id | ConversationName | None = None
    user: MetadataText | None = None
    safety_identifier: MetadataText | None = None

    @property
    def stores(self) -> bool:
        """Whether the response can be read and continued later."""
        return self.store is not False

    @property
    def conversation_id(self) -> str | None:
        """The id of the conversation that is continued."""
        named = self.conversation
        return named.id if isinstance(named, ConversationName) else named

    @property
    def known_tools(self) -> AskedTools:
        """The tools of the request.

        Raises:
            ProblemError: naming the field that is wrong.
        """
        return read_tools(self.tools or [], self.tool_choice, parallel=self.parallel_tool_calls)

    def check(self) -> None:
        """Check that the request asks for nothing that is refused.

        Raises:
            ProblemError: naming the field.
        """
        REFUSED.check(self)
        if isinstance(self.input, list) and len(self.input) > MAX_ITEMS:
            raise invalid_field("input", f"must have at most {MAX_ITEMS} items")

    def asked(self, said: Said, tools: AskedTools, ignored: tuple[str, ...]) -> Asked:
        """What the request asks for, given what it says."""
        return Asked(
            model=self.model,
            said=said,
            stream=bool(self.stream),
            temperature=self.temperature,
            max_tokens=self.max_output_tokens,
            top_p=self.top_p,
            response_format=self.text.format if self.text else None,
            tools=tools,
            metadata=self.metadata or {},
            user=self.safety_identifier or self.user,
            ignored=(*ignored_in(self), *ignored),
            fields=FIELDS,
        )
