"""OpenAI Agents, whose conversation is kept by the app."""

import asyncio

from agents import (
    Agent,
    OpenAIConversationsSession,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from asked import BASE_URL, CALL, KEY, MODEL, NAME, RECALL, WORDS, Report, show, weather
from openai import AsyncOpenAI


def agent(client: AsyncOpenAI, model: str = MODEL) -> Agent:
    """An agent that may ask for the weather."""
    return Agent(
        name="assistant",
        instructions="Be brief.",
        model=OpenAIResponsesModel(model, client),
        tools=[function_tool(weather)],
    )


async def refused(key: str, model: str) -> object:
    """Ask with another key or model."""
    async with AsyncOpenAI(base_url=BASE_URL, api_key=key) as client:
        return await Runner.run(agent(client, model), NAME)


async def responses() -> Report:
    """Stream, call a tool, and keep a conversation."""
    async with AsyncOpenAI(base_url=BASE_URL, api_key=KEY) as client:
        mine = agent(client)
        stream = Runner.run_streamed(mine, WORDS)
        events = [event async for event in stream.stream_events()]
        raw = [event.data for event in events if event.type == "raw_response_event"]
        session = OpenAIConversationsSession(openai_client=client)
        await Runner.run(mine, NAME, session=session)
        called = await Runner.run(mine, CALL, session=session)
        recalled = await Runner.run(mine, RECALL, session=session)
        await session.clear_session()
        return {
            "streamed": [each.delta for each in raw if each.type == "response.output_text.delta"],
            "tool": called.final_output,
            "conversation": recalled.final_output,
        }


set_tracing_disabled(True)
show(
    lambda key, model: asyncio.run(refused(key, model)),
    responses=lambda: asyncio.run(responses()),
)
