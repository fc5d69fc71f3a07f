"""Microsoft Agent Framework, on responses and on chat completions."""

import asyncio

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient
from asked import BASE_URL, CALL, KEY, MODEL, NAME, RECALL, WORDS, Report, show, weather

Client = type[OpenAIChatClient] | type[OpenAIChatCompletionClient]


def agent(kind: Client, key: str = KEY, model: str = MODEL) -> Agent:
    """An agent that may ask for the weather."""
    client = kind(model=model, api_key=key, base_url=BASE_URL)
    return Agent(client, instructions="Be brief.", tools=[weather])


async def used(kind: Client) -> Report:
    """Stream, call a tool, and keep a conversation."""
    mine = agent(kind)
    updates = [update async for update in mine.run(WORDS, stream=True)]
    pieces = [each for update in updates for each in update.contents if each.text]
    session = mine.create_session()
    await mine.run(NAME, session=session)
    called = await mine.run(CALL, session=session)
    recalled = await mine.run(RECALL, session=session)
    return {
        # the last one replaces all before it
        "streamed": [each.text for each in pieces if each.merge_mode != "replace"],
        "tool": called.text,
        "conversation": recalled.text,
    }


def refused(key: str, model: str) -> object:
    """Ask with another key or model."""
    return asyncio.run(_refused(key, model))


async def _refused(key: str, model: str) -> object:
    return await agent(OpenAIChatCompletionClient, key, model).run(NAME)


show(
    refused,
    chat=lambda: asyncio.run(used(OpenAIChatCompletionClient)),
    responses=lambda: asyncio.run(used(OpenAIChatClient)),
)
