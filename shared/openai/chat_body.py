"""The body of `POST /chat/completions`.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from ..foundry.models import ClientCall, ClientOutput
from ..http.field_errors import invalid_field
from ..turns.body import MAX_NAME_CHARS, Metadata, MetadataText
from .asked import Asked, texts_of
from .fields import Open, RefusedFields, ignored_in, unsupported
from .said import MAX_ITEMS, JsonObject, Said, image_item, joined, message_item, settled
from .stops import MAX_STOP_CHARS, MAX_STOPS
from .tools import AskedTools, read_tools

MAX_CALL_ID_CHARS = 256

_Stop = Annotated[str, Field(max_length=MAX_STOP_CHARS)]

REFUSED = RefusedFields(
    harmless={
        "n": (1,),
        "logprobs": (False,),
        "top_logprobs": (0,),
        "modalities": (["text"],),
        "functions": ([],),
        "function_call": ("auto", "none"),
    },
    reasons={
        "n": "one request has one answer; send it several times",
        "logprobs": "the models of this app report no log probabilities",
        "top_logprobs": "the models of this app report no log probabilities",
        "modalities": "answers are text",
        "audio": "answers are text",
        "web_search_options": "name the tool web_search in tools",
        "functions": "give tools instead",
        "function_call": "give tool_choice instead",
    },
)

FIELDS = {"instructions": "messages", "system_prompt": "messages"}


class ImageUrl(Open):
    """The image of a part."""

    url: str
    detail: str | None = None


class ChatPart(Open):
    """A part of a message."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | None = None


class CalledFunction(Open):
    """A function that was called."""

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS)
    arguments: str


class MadeCall(Open):
    """A call that the model made."""

    without_effect: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "index": tuple(range(MAX_ITEMS)),
    }

    id: str = Field(min_length=1, max_length=MAX_CALL_ID_CHARS)
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Open):
    """A message of the conversation so far."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ChatPart] | None = None
    tool_calls: list[MadeCall] | None = None
    tool_call_id: str | None = Field(default=None, max_length=MAX_CALL_ID_CHARS)


class FunctionDefinition(Open):
    """A function that the caller runs."""

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChatTool(Open):
    """A tool that the model may call; one that is no function is named by its type."""

    type: str = Field(min_length=1, max_length=MAX_NAME_CHARS)
    function: FunctionDefinition | None = None

    def to_responses(self) -> dict[str, Any]:
        """The tool in the form of the Responses API."""
        known = self.function
        if known is None:
            return {"type": self.type}
        fields = known.model_dump(include=set(FunctionDefinition.model_fields), exclude_none=True)
        return {"type": self.type, **fields}


class StreamOptions(Open):
    """What a stream contains."""

    without_effect: ClassVar[Mapping[str, tuple[Any, ...]]] = {"include_obfuscation": (False,)}

    include_usage: bool | None = None


class CreateChatCompletion(Open):
    """Body of `POST /chat/completions`; fields that it does not have are ignored."""

    without_effect: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **REFUSED.harmless,
        "store": (False,),
        "frequency_penalty": (0, 0.0),
        "presence_penalty": (0, 0.0),
        "logit_bias": ({},),
        "service_tier": ("auto", "default"),
    }

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_ITEMS)
    model: str = Field(min_length=1, max_length=2 * MAX_NAME_CHARS)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: _Stop | list[_Stop] | None = None
    tools: list[ChatTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    metadata: Metadata | None = None
    user: MetadataText | None = None
    safety_identifier: MetadataText | None = None

    def asked(self) -> Asked:
        """What the request asks for.

        Raises:
            ProblemError: naming the field that is wrong or refused.
        """
        REFUSED.check(self)
        stop = texts_of(self.stop)
        if len(stop) > MAX_STOPS:
            raise invalid_field("stop", f"must have at most {MAX_STOPS} sequences")
        return Asked(
            model=self.model,
            said=_said(self.messages),
            stream=bool(self.stream),
            temperature=self.temperature,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            top_p=self.top_p,
            response_format=self.response_format,
            tools=self._tools(),
            stop=stop,
            metadata=self.metadata or {},
            user=self.safety_identifier or self.user,
            ignored=tuple(ignored_in(self)),
            fields=FIELDS,
        )

    def _tools(self) -> AskedTools:
        tools = self.tools or []
        for number, tool in enumerate(tools):
            if tool.type == "function" and tool.function is None:
                raise invalid_field(f"tools.{number}.function", "must be given")
        choice = self.tool_choice
        if isinstance(choice, dict) and isinstance(named := choice.get("function"), dict):
            choice = {"type": "function", "name": cast("dict[str, Any]", named).get("name")}
        given = [tool.to_responses() for tool in tools]
        return read_tools(given, choice, parallel=self.parallel_tool_calls)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)


def _said(messages: list[ChatMessage]) -> Said:
    instructions: list[str] = []
    items: list[JsonObject] = []
    for number, message in enumerate(messages):
        place = f"messages.{number}"
        match message.role:
            case "system" | "developer":
                instructions += _texts(message, place)
            case "user":
                items.append(message_item("user", _user_content(message, place)))
            case "assistant":
                items += _assistant_items(message, place)
            case "tool":
                items.append(_output_item(message, place))
    return Said(joined(instructions), settled(items, "messages"))


def _assistant_items(message: ChatMessage, place: str) -> Iterator[JsonObject]:
    if text := joined(_texts(message, place)):
        yield message_item("assistant", text)
    for call in message.tool_calls or ():
        yield ClientCall(call.id, call.function.name, call.function.arguments).to_item()


def _output_item(message: ChatMessage, place: str) -> JsonObject:
    if not message.tool_call_id:
        raise invalid_field(f"{place}.tool_call_id", "must be given")
    output = joined(_texts(message, place)) or ""
    return ClientOutput(message.tool_call_id, output).to_item()


def _texts(message: ChatMessage, place: str) -> list[str]:
    """The texts of a message that has only such parts."""
    if not isinstance(message.content, list):
        return [message.content or ""]
    texts: list[str] = []
    for number, part in enumerate(message.content):
        text = part.refusal if part.type == "refusal" else part.text
        if part.type not in {"text", "refusal"} or text is None:
            raise invalid_field(f"{place}.content.{number}", "must be a part of type text")
        texts.append(text)
    return texts


def _user_content(message: ChatMessage, place: str) -> str | list[JsonObject]:
    content = message.content
    if not isinstance(content, list):
        if not content:
            raise invalid_field(f"{place}.content", "must not be empty")
        return content
    parts = [_user_part(each, f"{place}.content.{n}") for n, each in enumerate(content)]
    if not parts:
        raise invalid_field(f"{place}.content", "must not be empty")
    return parts


def _user_part(part: ChatPart, place: str) -> JsonObject:
    match part.type:
        case "text" if part.text is not None:
            return {"type": "input_text", "text": part.text}
        case "image_url" if part.image_url is not None:
            return image_item(f"{place}.image_url", part.image_url.url, part.image_url.detail)
        case "text" | "image_url":
            raise invalid_field(f"{place}.{part.type}", "must be given")
        case _:
            raise unsupported(f"{place}.type", "a message has parts of type text and image_url")
