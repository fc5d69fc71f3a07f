"""POST /openai/v1/chat/completions, the older OpenAI API."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import JSONResponse, Response

from local.model import (
    Finished,
    LanguageModel,
    ModelError,
    Prompt,
    PromptBlockedError,
    PromptTooLongError,
    RefusalDelta,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    fit_to_context,
)

from .catalog import find_deployment
from .errors import ApiError, JsonObject, content_filtered, invalid
from .faults import FAILING, FaultKind
from .ids import new_id
from .operation import Call
from .requests import ChatCompletionCreate, parse
from .sse import stream

DONE = "[DONE]"


async def create(call: Call, model: LanguageModel) -> Response:
    """Answer a chat completion as JSON or as a stream."""
    wanted = parse(ChatCompletionCreate, call.body)
    if wanted.tools and not find_deployment(wanted.model).takes_tools:
        text = f"Tools are not supported with the deployment '{wanted.model}'."
        raise invalid(text, "tools", "unsupported_parameter")
    find_deployment(wanted.model)
    prompt = await _prompt(model, wanted)
    chunks = _chunks(call, model, prompt, wanted)
    is_whole = call.fault is not None and call.fault.kind is FaultKind.WHOLE
    if wanted.stream and not is_whole:
        response: Response = stream(call.request, _lines(chunks), call.fault, _data_frame)
    else:
        response = JSONResponse(await _whole(chunks))
    response.headers.update(call.service.rate.headers(wanted.model))
    if call.fault is not None:
        response.headers.update(call.fault.headers)
    return response


def _data_frame(data: str) -> str:
    return f"data: {data}\n\n"


async def _prompt(model: LanguageModel, wanted: ChatCompletionCreate) -> Prompt:
    prompt = Prompt(
        messages=[message.model_dump() for message in wanted.messages],
        tools=wanted.tools,
        tool_choice=wanted.tool_choice,
        response_format=wanted.response_format,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        max_output_tokens=wanted.max_completion_tokens or wanted.max_tokens,
    )
    try:
        model.screen(prompt)
        return await fit_to_context(model, prompt)
    except PromptBlockedError:
        raise content_filtered() from None
    except PromptTooLongError as error:
        raise invalid(str(error), "messages", "context_length_exceeded") from None


async def _chunks(
    call: Call, model: LanguageModel, prompt: Prompt, wanted: ChatCompletionCreate
) -> AsyncGenerator[JsonObject]:
    base = {
        "id": new_id("chatcmpl"),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": wanted.model,
    }
    fault, called = call.fault, False
    pause = fault.seconds if fault is not None and fault.kind is FaultKind.SLOW else 0.0
    hides_usage = fault is not None and fault.kind is FaultKind.NO_USAGE
    with_usage = not wanted.stream or (wanted.stream_options or {}).get("include_usage")
    yield {**base, "choices": [_choice({"role": "assistant", "content": ""})]}
    if fault is not None and fault.kind in FAILING:
        raise _FailedInsideError(fault.error)
    try:
        async with aclosing(model.generate(prompt)) as deltas:
            async for delta in deltas:
                await asyncio.sleep(pause)
                if not isinstance(delta, Finished):
                    called = called or isinstance(delta, ToolCallDelta)
                    yield {**base, "choices": [_choice(_delta(delta))]}
                    continue
                call.service.turns.ledger.bill(delta.usage)
                reason = "tool_calls" if called else str(delta.reason)
                yield {**base, "choices": [_choice({}, reason)]}
                if with_usage and not hides_usage:
                    yield {**base, "choices": [], "usage": _usage(delta.usage)}
    except ModelError as error:
        raise ApiError(500, "server_error", str(error)) from error


def _choice(delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}


def _delta(delta: TextDelta | RefusalDelta | ToolCallDelta) -> JsonObject:
    match delta:
        case TextDelta():
            return {"content": delta.text}
        case RefusalDelta():
            return {"refusal": delta.text}
        case ToolCallDelta():
            function = {"name": delta.name, "arguments": delta.arguments}
            call = {"index": delta.index, "id": delta.call_id, "type": "function"}
            return {"tool_calls": [{**call, "function": function}]}


def _usage(usage: TokenUsage | None) -> JsonObject | None:
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


async def _lines(chunks: AsyncGenerator[JsonObject]) -> AsyncGenerator[str | None]:
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield json.dumps(chunk)
    except _FailedInsideError as failed:
        yield json.dumps({"error": failed.error})
    except ApiError as error:
        yield json.dumps({"error": {"code": error.code, "message": error.message}})
    yield DONE


class _FailedInsideError(Exception):
    """A fault reports a failure inside HTTP 200."""

    def __init__(self, error: JsonObject) -> None:
        super().__init__(error)
        self.error = error


async def _whole(chunks: AsyncGenerator[JsonObject]) -> JsonObject:
    """The completion, or the failure instead."""
    try:
        return await _gather(chunks)
    except _FailedInsideError as failed:
        return {"error": failed.error}


async def _gather(chunks: AsyncGenerator[JsonObject]) -> JsonObject:
    """Merge the chunks into one completion."""
    message: JsonObject = {"role": "assistant", "content": "", "refusal": None}
    calls: dict[int, JsonObject] = {}
    whole: JsonObject = {"usage": None}
    async for chunk in chunks:
        whole |= {k: v for k, v in chunk.items() if k != "choices"}
        for choice in chunk["choices"]:
            _merge(message, calls, choice["delta"])
            whole["choices"] = [{**choice, "message": message}]
    if calls:
        message |= {"content": None, "tool_calls": [calls[index] for index in sorted(calls)]}
    for choice in whole["choices"]:
        del choice["delta"]
    return {**whole, "object": "chat.completion"}


def _merge(message: JsonObject, calls: dict[int, JsonObject], delta: JsonObject) -> None:
    message["content"] += delta.get("content", "")
    if "refusal" in delta:
        message["refusal"] = (message["refusal"] or "") + delta["refusal"]
    for call in delta.get("tool_calls", []):
        if call["index"] in calls:
            calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
        else:
            calls[call["index"]] = {k: v for k, v in call.items() if k != "index"}
