"""Items of conversations: how they are checked, completed, and turned into chat messages."""

from collections.abc import Iterable, Sequence

from .errors import ApiError, JsonObject, invalid
from .ids import new_item_id
from .requests import MAX_TEXT_CHARACTERS

ROLES = ("user", "assistant", "system", "developer")
_REQUIRED = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "mcp_approval_response": ("approval_request_id", "approve"),
    "item_reference": ("id",),
}
_CHAT_TOOL_FIELDS = ("name", "description", "parameters")
_PART_FIELD = {
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "input_image": None,
    "input_file": None,
}


def normalize(items: str | Sequence[JsonObject], *, strict: bool, param: str) -> list[JsonObject]:
    """Check input items and add what the service adds: ids, status, content parts.

    With `strict`, as on project paths, `type` must be written out and replayed `output_text` parts
    must carry `annotations`.
    """
    if isinstance(items, str):
        items = [{"type": "message", "role": "user", "content": items}]
    return [_complete(item, strict, f"{param}[{n}]") for n, item in enumerate(items)]


def _complete(item: JsonObject, strict: bool, param: str) -> JsonObject:
    if "type" not in item:
        if strict or "role" not in item:
            raise invalid(f"Missing required parameter: '{param}.type'.", f"{param}.type")
        item = {"type": "message", **item}
    kind = item["type"]
    if not isinstance(kind, str):
        raise invalid(f"Invalid value for '{param}.type'.", f"{param}.type")
    for name in _REQUIRED.get(kind, ()):
        if item.get(name) is None:
            raise invalid(f"Missing required parameter: '{param}.{name}'.", f"{param}.{name}")
    if kind == "item_reference":
        return item
    completed = {"id": new_item_id(kind), "status": "completed", **item}
    if kind == "message":
        if item["role"] not in ROLES:
            text = f"Invalid value: '{item['role']}'. Supported values are: {ROLES}."
            raise invalid(text, f"{param}.role", "invalid_value")
        completed["content"] = _parts(item, strict, f"{param}.content")
    return completed


def _parts(message: JsonObject, strict: bool, param: str) -> list[JsonObject]:
    content: str | list[JsonObject] = message["content"]
    if isinstance(content, str):
        if len(content) > MAX_TEXT_CHARACTERS:
            text = f"The text is longer than {MAX_TEXT_CHARACTERS} characters."
            raise invalid(text, param, "content_size_exceeded")
        if message["role"] == "assistant":
            return [{"type": "output_text", "text": content, "annotations": []}]
        return [{"type": "input_text", "text": content}]
    if not isinstance(content, list):  # pyright: ignore[reportUnnecessaryIsInstance] - raw JSON
        raise invalid(f"Invalid value for '{param}'.", param)
    for number, part in enumerate(content):
        _check_part(part, strict, f"{param}[{number}]")
    return [
        {"annotations": [], **part} if part["type"] == "output_text" else part for part in content
    ]


def _check_part(part: JsonObject, strict: bool, param: str) -> None:
    kind = part.get("type") if isinstance(part, dict) else None  # pyright: ignore[reportUnnecessaryIsInstance] - raw JSON
    if not isinstance(kind, str) or kind not in _PART_FIELD:
        text = f"Invalid value: '{kind}'. Supported values are: {sorted(_PART_FIELD)}."
        raise invalid(text, f"{param}.type", "invalid_value")
    needed = _PART_FIELD[kind]
    if needed is not None and not isinstance(part.get(needed), str):
        raise invalid(f"Missing required parameter: '{param}.{needed}'.", f"{param}.{needed}")
    if strict and kind == "output_text" and "annotations" not in part:
        name = f"{param}.annotations"
        raise invalid(f"Missing required parameter: '{name}'.", name)


def check_tool_outputs(history: Iterable[JsonObject]) -> None:
    """Refuse a history in which a call or a request for approval has no answer, or the reverse."""
    items = list(history)
    _check_approvals(items)
    answered = {i["call_id"] for i in items if i["type"] == "function_call_output"}
    called: set[str] = set()
    for item in items:
        if item["type"] == "function_call":
            called.add(item["call_id"])
            if item["call_id"] not in answered:
                text = f"No tool output found for function call {item['call_id']}."
                raise invalid(text, "input", "invalid_payload")
        elif item["type"] == "function_call_output" and item["call_id"] not in called:
            text = f"No tool call found for function call output with call_id {item['call_id']}."
            raise invalid(text, "input", "invalid_payload")


def _check_approvals(items: Sequence[JsonObject]) -> None:
    answers = {i["approval_request_id"] for i in items if i["type"] == "mcp_approval_response"}
    requests = {i["id"] for i in items if i["type"] == "mcp_approval_request"}
    for request_id in sorted(requests - answers):
        text = f"No approval response found for approval request {request_id}."
        raise invalid(text, "input", "invalid_payload")
    for request_id in sorted(answers - requests):
        text = f"No approval request found for approval response with id {request_id}."
        raise invalid(text, "input", "invalid_payload")


def has_image(items: Iterable[JsonObject]) -> bool:
    """Whether any message has an image."""
    return any(
        part.get("type") == "input_image"
        for item in items
        if item["type"] == "message"
        for part in item["content"]
    )


def chat_messages(items: Iterable[JsonObject], instructions: str | None) -> list[JsonObject]:
    """Write items as the messages of a chat completion, instructions first."""
    messages: list[JsonObject] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    for item in items:
        if item["type"] == "message":
            messages.append({"role": item["role"], "content": _chat_content(item["content"])})
        elif item["type"] == "function_call":
            _add_call(messages, item)
        elif item["type"] == "function_call_output":
            output = item["output"]
            text = output if isinstance(output, str) else _chat_content(output)
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": text})
        elif item["type"] == "mcp_approval_request":
            _add_call(messages, {**item, "call_id": item["id"]})
        elif item["type"] == "mcp_approval_response":
            text = "found it" if item["approve"] else f"denied: {item.get('reason')}"
            answered = item["approval_request_id"]
            messages.append({"role": "tool", "tool_call_id": answered, "content": text})
    return messages


def _chat_content(parts: Sequence[JsonObject]) -> str | list[JsonObject]:
    if not any(part["type"] == "input_image" for part in parts):
        return "\n".join(str(part.get("text", part.get("refusal", "[file]"))) for part in parts)
    return [
        {"type": "image_url", "image_url": {"url": part["image_url"]}}
        if part["type"] == "input_image"
        else {"type": "text", "text": str(part.get("text", "[file]"))}
        for part in parts
    ]


def _add_call(messages: list[JsonObject], item: JsonObject) -> None:
    """Add a call to the assistant's message, so that parallel calls share one."""
    call = {
        "id": item["call_id"],
        "type": "function",
        "function": {"name": item["name"], "arguments": item["arguments"]},
    }
    if messages and messages[-1]["role"] == "assistant" and "tool_calls" in messages[-1]:
        messages[-1]["tool_calls"].append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def chat_tools(tools: Iterable[JsonObject]) -> list[JsonObject]:
    """Nest function tools as chat completions want them; other tools run in the service."""
    return [
        {
            "type": "function",
            "function": {key: tool[key] for key in _CHAT_TOOL_FIELDS if key in tool},
        }
        for tool in tools
        if tool["type"] == "function"
    ]


def chat_tool_choice(choice: str | JsonObject | None) -> str | JsonObject | None:
    """Nest the choice of one function as chat completions want it."""
    if isinstance(choice, dict):
        if choice.get("type") == "function":
            return {"type": "function", "function": {"name": choice["name"]}}
        return "auto"
    return choice


def chat_format(text: JsonObject | None) -> JsonObject | None:
    """Nest a text format as chat completions want it; None for plain text."""
    wanted = (text or {}).get("format") or {"type": "text"}
    match wanted["type"]:
        case "text":
            return None
        case "json_schema":
            if "schema" not in wanted:
                name = "text.format.schema"
                raise ApiError(400, "missing_required_parameter", f"Missing '{name}'.", name)
            fields = {k: v for k, v in wanted.items() if k != "type"}
            return {"type": "json_schema", "json_schema": fields}
        case _:
            return {"type": wanted["type"]}
