"""Bodies of requests, with the checks of the service.

Every refusal is a 400 that names the field in `param`, written as `input[0].type`.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from .errors import ApiError, JsonObject, invalid

MAX_ITEMS_PER_CALL = 20
MAX_TEXT_CHARACTERS = 1_500_000
MAX_TOOLS = 128

BodyT = TypeVar("BodyT", bound=BaseModel)

MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]
Items = Annotated[list[JsonObject], Field(max_length=MAX_ITEMS_PER_CALL)]
AgentName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ConversationCreate(_Body):
    """POST /conversations."""

    items: Items | None = None
    metadata: Metadata | None = None


class ConversationUpdate(_Body):
    """POST /conversations/{id}."""

    metadata: Metadata | None = None


class ItemsCreate(_Body):
    """POST /conversations/{id}/items."""

    items: Items


class ConversationRef(_Body):
    """A conversation by its id, in object form."""

    id: str


class AgentReference(_Body):
    """The agent to use."""

    type: Literal["agent_reference"]
    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    version: str | None = None


class TextFormat(BaseModel):
    """The form of the answer's text."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal["text", "json_object", "json_schema"]


class TextConfig(_Body):
    """Settings of the answer's text."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class StreamOptions(_Body):
    """Settings of a stream; the emulator does not obfuscate."""

    include_obfuscation: bool | None = None


class ResponseCreate(_Body):
    """POST /responses."""

    agent_reference: AgentReference | None = None
    model: str | None = None
    input: str | list[JsonObject] | None = None
    instructions: str | None = None
    conversation: str | ConversationRef | None = None
    previous_response_id: str | None = None
    tools: Annotated[list[JsonObject], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: str | JsonObject | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    text: TextConfig | None = None
    reasoning: JsonObject | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    background: bool | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    include: list[str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    structured_inputs: JsonObject | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None

    @property
    def conversation_id(self) -> str | None:
        """The conversation's id, from either form."""
        if isinstance(self.conversation, ConversationRef):
            return self.conversation.id
        return self.conversation

    def check(self) -> None:
        """Refuse fields that contradict each other."""
        if self.input is None and self.conversation is None and self.previous_response_id is None:
            raise invalid("Missing required parameter: 'input'.", "input")
        if self.conversation is not None and self.previous_response_id is not None:
            message = "Mutually exclusive parameters: 'conversation' and 'previous_response_id'."
            raise invalid(message, "previous_response_id", "mutually_exclusive_parameters")
        if self.background and self.store is False:
            raise invalid("'background' requires 'store' to be true.", "background")
        if self.stream_options is not None and not self.stream:
            raise invalid("'stream_options' requires 'stream' to be true.", "stream_options")
        if self.agent_reference is not None and self.tools is not None:
            raise invalid("Not allowed when agent is specified.", "tools", "invalid_payload")
        if self.agent_reference is None and not self.model:
            raise invalid("Missing required parameter: 'model'.", "model")
        for index, tool in enumerate(self.tools or []):
            check_tool(tool, f"tools[{index}]")


class AgentDefinition(BaseModel):
    """The definition in an agent's version; only the kind `prompt` can answer."""

    model_config = ConfigDict(extra="allow")
    kind: Literal["prompt", "hosted", "workflow", "external", "voice"]


class AgentVersionCreate(_Body):
    """POST /agents/{name} and /agents/{name}/versions."""

    definition: AgentDefinition
    description: Annotated[str, StringConstraints(max_length=512)] | None = None
    metadata: Metadata | None = None
    draft: bool | None = None
    blueprint_reference: JsonObject | None = None


class AgentCreate(AgentVersionCreate):
    """POST /agents."""

    name: AgentName


class ChatMessage(BaseModel):
    """One message of a chat completion."""

    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[JsonObject] | None = None


class ChatCompletionCreate(BaseModel):
    """POST /chat/completions; fields without effect here are accepted."""

    model_config = ConfigDict(extra="allow")
    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    tools: list[JsonObject] = []
    tool_choice: str | JsonObject | None = None
    response_format: JsonObject | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stream: bool = False
    stream_options: JsonObject | None = None


def parse(model: type[BodyT], body: object) -> BodyT:
    """Check a JSON body against a model; raises `ApiError` for the first error."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise _refusal(error) from None


def check_tool(tool: JsonObject, param: str) -> None:
    """Refuse a tool that is not one of the flat shapes of the Responses API."""
    if not isinstance(tool.get("type"), str):
        raise invalid(f"Missing required parameter: '{param}.type'.", f"{param}.type")
    if tool["type"] == "function" and not isinstance(tool.get("name"), str):
        raise invalid(f"Missing required parameter: '{param}.name'.", f"{param}.name")


def _refusal(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False)[0]
    param = _param(first["loc"])
    match first["type"]:
        case "missing":
            text = f"Missing required parameter: '{param}'."
            return invalid(text, param, "missing_required_parameter")
        case "extra_forbidden":
            return invalid(f"Unknown parameter: '{param}'.", param, "unknown_parameter")
        case _:
            text = f"Invalid value for '{param}': {first['msg']}."
            return invalid(text, param or None, "invalid_payload")


def _param(location: Sequence[int | str]) -> str:
    """Write a location as the service does, without the names of union members."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not any(mark in part for mark in "[(") and part not in {"str", "ConversationRef"}:
            path += f".{part}" if path else part
    return path
