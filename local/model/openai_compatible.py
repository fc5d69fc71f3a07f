"""A model behind any server that speaks OpenAI chat completions (Ollama, vLLM, llama.cpp)."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import httpx
from httpx_aiohttp import HttpxAiohttpClient

from .base import (
    Delta,
    Finished,
    FinishReason,
    JsonObject,
    ModelError,
    Prompt,
    RefusalDelta,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    message_text,
)

CONNECT_SECONDS = 15.0
SILENCE_SECONDS = 300.0
"""The longest wait between two chunks: a small machine reads a long prompt slowly."""
CHARACTERS_PER_TOKEN = 4
"""The usual ratio for English; used only where the server has no counter to ask."""
DEFAULT_CONTEXT_TOKENS = 32_768

_REASONS = {"length": FinishReason.LENGTH, "content_filter": FinishReason.CONTENT_FILTER}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The server, and the model to use on it."""

    base_url: str
    """The URL above `/chat/completions`, such as `http://localhost:11434/v1`."""
    model: str | None = None
    """The model's name on the server; default: the first that it lists."""
    api_key: str | None = None
    context_tokens: int = DEFAULT_CONTEXT_TOKENS


class OpenAICompatibleModel:
    """Streams chat completions over HTTP."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._model = settings.model
        self._client = HttpxAiohttpClient(
            base_url=settings.base_url.rstrip("/") + "/",
            headers=_headers(settings),
            timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
        )

    @property
    def name(self) -> str:
        """The server's address."""
        return self._settings.base_url

    @property
    def context_tokens(self) -> int:
        """The context of the model, as configured."""
        return self._settings.context_tokens

    def screen(self, prompt: Prompt) -> None:
        """Accept every prompt: the server may filter it."""

    async def count_tokens(self, prompt: Prompt) -> int:
        """Estimate the tokens of the prompt from its characters."""
        characters = sum(len(message_text(message)) for message in prompt.messages)
        return characters // CHARACTERS_PER_TOKEN

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta]:
        """Stream the server's answer."""
        body = {"model": await self._model_name(), **_request_body(prompt)}
        state = _StreamState()
        try:
            async with self._client.stream("POST", "chat/completions", json=body) as response:
                if response.is_error:
                    await response.aread()
                    raise ModelError(f"HTTP {response.status_code}: {response.text[:500]}")
                async for line in _lines(response):
                    for delta in state.read(line):
                        yield delta
        except httpx.HTTPError as error:
            raise ModelError(f"{self._settings.base_url}: {error!r}") from error
        yield Finished(state.reason, state.usage)

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        """Send one JSON request below the base URL and return its JSON answer."""
        try:
            response = await self._client.post(path, json=body)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise ModelError(f"{self._settings.base_url}: {error!r}") from error
        return response.json()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _model_name(self) -> str:
        if self._model is None:
            try:
                listing = (await self._client.get("models")).raise_for_status().json()
            except httpx.HTTPError as error:
                raise ModelError(f"{self._settings.base_url}: {error!r}") from error
            if not listing.get("data"):
                raise ModelError(f"{self._settings.base_url} has no model")
            self._model = str(listing["data"][0]["id"])
        return self._model


def _headers(settings: ServerSettings) -> dict[str, str]:
    """Each request on a connection of its own: llama.cpp closes idle ones after seconds, and a
    request that meets the closing one is lost."""
    headers = {"connection": "close"}
    if settings.api_key:
        headers["authorization"] = f"Bearer {settings.api_key}"
    return headers


async def _lines(response: httpx.Response) -> AsyncGenerator[str]:
    """The lines of a stream of events; other characters that Unicode breaks lines at are text."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")


def _request_body(prompt: Prompt) -> JsonObject:
    optional = {
        "tools": list(prompt.tools) or None,
        "tool_choice": prompt.tool_choice if prompt.tools else None,
        "response_format": prompt.response_format,
        "temperature": prompt.temperature,
        "top_p": prompt.top_p,
        "max_tokens": prompt.max_output_tokens,
    }
    return {
        "messages": list(prompt.messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        **{key: value for key, value in optional.items() if value is not None},
    }


class _StreamState:
    """Reads the lines of a chat completions stream into deltas."""

    def __init__(self) -> None:
        self.reason = FinishReason.STOP
        self.usage: TokenUsage | None = None
        self._calls: dict[int, tuple[str, str]] = {}

    def read(self, line: str) -> list[Delta]:
        if not line.startswith("data:") or line.endswith("[DONE]"):
            return []
        chunk = json.loads(line.removeprefix("data:"))
        if chunk.get("error"):
            raise ModelError(str(chunk["error"]))
        if chunk.get("usage"):
            self.usage = _usage(chunk["usage"])
        if not chunk.get("choices"):
            return []
        choice = chunk["choices"][0]
        if choice.get("finish_reason"):
            self.reason = _REASONS.get(choice["finish_reason"], FinishReason.STOP)
        return self._deltas(choice.get("delta") or {})

    def _deltas(self, delta: JsonObject) -> list[Delta]:
        found: list[Delta] = []
        if delta.get("content"):
            found.append(TextDelta(delta["content"]))
        if delta.get("refusal"):
            found.append(RefusalDelta(delta["refusal"]))
        calls: list[JsonObject] = delta.get("tool_calls") or []
        for call in calls:
            index: int = call["index"]
            function: JsonObject = call.get("function") or {}
            if call.get("id"):
                self._calls[index] = (call["id"], function["name"])
            call_id, name = self._calls[index]
            found.append(ToolCallDelta(index, call_id, name, function.get("arguments") or ""))
        return found


def _usage(usage: JsonObject) -> TokenUsage:
    details: JsonObject = usage.get("prompt_tokens_details") or {}
    return TokenUsage(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        cached_tokens=details.get("cached_tokens") or 0,
    )
