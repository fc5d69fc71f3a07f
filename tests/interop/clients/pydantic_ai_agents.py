"""Pydantic AI, on chat completions and on responses."""

import asyncio

from asked import BASE_URL, CALL, KEY, MODEL, NAME, RECALL, WORDS, Report, show, weather
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


def provider(key: str = KEY) -> OpenAIProvider:
    """The app."""
    return OpenAIProvider(base_url=BASE_URL, api_key=key)


async def used(model: Model) -> Report:
    """Stream, call a tool, and keep a conversation."""
    agent = Agent(model, tools=[weather])
    async with agent.run_stream(WORDS) as stream:
        streamed = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    first = await agent.run(NAME)
    return {
        "streamed": streamed,
        "tool": (await agent.run(CALL)).output,
        "conversation": (await agent.run(RECALL, message_history=first.all_messages())).output,
    }


def refused(key: str, model: str) -> object:
    """Ask with another key or model."""
    return Agent(OpenAIChatModel(model, provider=provider(key))).run_sync(NAME)


show(
    refused,
    chat=lambda: asyncio.run(used(OpenAIChatModel(MODEL, provider=provider()))),
    responses=lambda: asyncio.run(used(OpenAIResponsesModel(MODEL, provider=provider()))),
)
