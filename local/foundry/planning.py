"""Checks the body of POST /responses and builds the plan of a response."""

import time
from dataclasses import dataclass

from local.model import (
    LanguageModel,
    Prompt,
    PromptBlockedError,
    PromptTooLongError,
    fit_to_context,
)

from . import agents, items
from .catalog import Deployment, find_deployment
from .conversations import find_conversation
from .errors import ApiError, JsonObject, content_filtered, invalid, not_found
from .faults import Fault
from .ids import is_well_formed, new_id
from .operation import Call, Surface
from .requests import ResponseCreate
from .store import Row
from .turns import Plan

_SETTINGS = {
    "instructions",
    "tools",
    "tool_choice",
    "temperature",
    "top_p",
    "text",
    "reasoning",
}
"""Fields that an agent's definition and a request without an agent can both have."""


@dataclass(frozen=True, slots=True)
class Answerer:
    """An agent's version, or a deployment with the request's own settings."""

    deployment: Deployment
    reference: JsonObject | None
    settings: JsonObject
    """`instructions`, `tools`, `tool_choice`, `temperature`, `top_p`, `text`, `reasoning`."""


async def make_plan(
    call: Call, wanted: ResponseCreate, model: LanguageModel, fault: Fault | None
) -> Plan:
    """Check a request against the state and build what its turn needs; raises `ApiError`."""
    answerer = _answerer(call, wanted)
    new_items = _new_items(call, wanted)
    history = [*_history(call, wanted), *new_items]
    items.check_tool_outputs(history)
    _check_abilities(answerer, history)
    prompt = await _prompt(model, wanted, answerer, history)
    return Plan(
        body=_first_body(wanted, answerer),
        owner=call.owner,
        prompt=prompt,
        input_items=new_items,
        store=wanted.store is not False,
        streamed=bool(wanted.background and wanted.stream),
        events_wanted=bool(wanted.stream),
        fault=fault,
    )


def find_response(call: Call, response_id: str, param: str | None = None) -> Row:
    """Return the caller's response; raises 400 for a malformed id, 404 for an unknown one."""
    if not is_well_formed(response_id, "resp"):
        raise invalid(f"Malformed identifier: '{response_id}'.", param, "invalid_parameters")
    row = call.service.store.find("responses", id=response_id, owner=call.owner)
    if row is None:
        raise not_found("Response", response_id, param)
    return row


def _answerer(call: Call, wanted: ResponseCreate) -> Answerer:
    own = wanted.model_dump(include=_SETTINGS, exclude_none=True)
    if wanted.agent_reference is None:
        return Answerer(find_deployment(wanted.model or ""), None, own)
    reference = wanted.agent_reference
    version = agents.resolve(call.service.store, reference.name, reference.version)
    definition = {key: value for key, value in version["definition"].items() if value is not None}
    own["instructions"] = _filled_in(definition, wanted.structured_inputs or {})
    return Answerer(
        find_deployment(definition["model"]),
        {"type": "agent_reference", "name": version["name"], "version": version["version"]},
        {**definition, **own},
    )


def _filled_in(definition: JsonObject, values: JsonObject) -> str | None:
    """Return the agent's instructions with the `{{slots}}` it declares filled in."""
    instructions: str | None = definition.get("instructions")
    slots: dict[str, JsonObject] = definition.get("structured_inputs") or {}
    for name, slot in slots.items():
        value = values.get(name, slot.get("default_value"))
        if value is None and slot.get("required"):
            text = f"Missing required structured input: '{name}'."
            raise invalid(text, f"structured_inputs.{name}", "invalid_parameters")
        instructions = (instructions or "").replace("{{" + name + "}}", str(value or ""))
    return instructions


def _new_items(call: Call, wanted: ResponseCreate) -> list[JsonObject]:
    strict = call.surface is Surface.PROJECT
    given = items.normalize(wanted.input or [], strict=strict, param="input")
    return [_dereference(call, item) for item in given]


def _dereference(call: Call, item: JsonObject) -> JsonObject:
    if item["type"] != "item_reference":
        return item
    row = call.service.store.find("items", id=item["id"])
    if row is None:
        raise not_found("Item", item["id"], "input")
    return row["body"]


def _history(call: Call, wanted: ResponseCreate) -> list[JsonObject]:
    if wanted.conversation_id is not None:
        find_conversation(call, wanted.conversation_id, "conversation")
        rows = call.service.store.all("items", conversation_id=wanted.conversation_id)
        return [row["body"] for row in rows]
    history: list[JsonObject] = []
    earlier = wanted.previous_response_id
    while earlier is not None:
        row = find_response(call, earlier, "previous_response_id")
        if row["conversation_id"] is not None:
            text = "The previous response belongs to a conversation: name the conversation instead."
            raise ApiError(
                409, "conversation_fork_not_supported", text, param="previous_response_id"
            )
        history = [*row["input"], *row["body"]["output"], *history]
        earlier = row["previous_response_id"]
    return history


def _check_abilities(answerer: Answerer, history: list[JsonObject]) -> None:
    deployment = answerer.deployment
    if answerer.settings.get("tools") and not deployment.takes_tools:
        text = f"Tools are not supported with the deployment '{deployment.name}'."
        raise invalid(text, "tools", "unsupported_parameter")
    if items.has_image(history) and not deployment.takes_images:
        text = f"Image input is not supported with the deployment '{deployment.name}'."
        raise invalid(text, "input", "invalid_payload")


async def _prompt(
    model: LanguageModel, wanted: ResponseCreate, answerer: Answerer, history: list[JsonObject]
) -> Prompt:
    settings = answerer.settings
    prompt = Prompt(
        messages=items.chat_messages(history, settings.get("instructions")),
        tools=items.chat_tools(settings.get("tools", [])),
        tool_choice=items.chat_tool_choice(settings.get("tool_choice")),
        response_format=items.chat_format(settings.get("text")),
        temperature=settings.get("temperature"),
        top_p=settings.get("top_p"),
        max_output_tokens=wanted.max_output_tokens,
    )
    try:
        model.screen(prompt)
        return await fit_to_context(model, prompt)
    except PromptBlockedError:
        raise content_filtered() from None
    except PromptTooLongError as error:
        raise invalid(str(error), "input", "context_length_exceeded") from None


def _first_body(wanted: ResponseCreate, answerer: Answerer) -> JsonObject:
    settings, background = answerer.settings, bool(wanted.background)
    conversation = wanted.conversation_id
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "queued" if background else "in_progress",
        "background": background,
        "model": answerer.deployment.name,
        "agent_reference": answerer.reference,
        "conversation": None if conversation is None else {"id": conversation},
        "previous_response_id": wanted.previous_response_id,
        "instructions": settings.get("instructions"),
        "output": [],
        "error": None,
        "incomplete_details": None,
        "usage": None,
        "tools": [_described(tool) for tool in settings.get("tools", [])],
        "tool_choice": settings.get("tool_choice", "auto"),
        "parallel_tool_calls": wanted.parallel_tool_calls is not False,
        "max_tool_calls": wanted.max_tool_calls,
        "temperature": settings.get("temperature", 1.0),
        "top_p": settings.get("top_p", 1.0),
        "top_logprobs": wanted.top_logprobs or 0,
        "max_output_tokens": wanted.max_output_tokens,
        "text": settings.get("text", {"format": {"type": "text"}}),
        "reasoning": settings.get("reasoning", {"effort": None, "summary": None}),
        "truncation": wanted.truncation or "disabled",
        "store": wanted.store is not False,
        "service_tier": wanted.service_tier or "default",
        "metadata": wanted.metadata or {},
        "user": wanted.user,
        "safety_identifier": wanted.safety_identifier,
        "prompt_cache_key": wanted.prompt_cache_key,
    }


def _described(tool: JsonObject) -> JsonObject:
    if tool["type"] != "function":
        return tool
    return {"description": None, "parameters": {}, "strict": True, **tool}
