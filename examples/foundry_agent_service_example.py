"""The client library in four steps: a message, a thread with a memory, figures, health.

Talks to whatever the FOUNDRY_* environment variables point at; see README.md beside it.
"""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from a checkout

from shared.config import SettingsError
from shared.foundry import FoundryError
from shared.ml import FoundryAgentServiceClient, FoundryAgentServiceConfig, FoundryResponse


async def send_a_message(client: FoundryAgentServiceClient) -> None:
    """One message that stands alone."""
    print("1. One message")
    response = await client.send_message("What is Azure AI Foundry? Answer in one sentence.")
    show("What is Azure AI Foundry?", response)
    print(f"   model {response.model}, tokens {response.usage}\n")


async def talk_on_a_thread(client: FoundryAgentServiceClient) -> None:
    """Three messages, of which the last needs the first."""
    print("2. A thread")
    thread_id = await client.create_thread({"example": "true"})
    for message in ("My name is Ada.", "I like mathematics.", "What is my name?"):
        show(message, await client.send_message(message, thread_id=thread_id))
    info = await client.get_thread_info(thread_id)
    if info is not None:
        print(f"   {info.message_count} messages were sent on {thread_id}")
    await client.delete_thread(thread_id)
    print("   the thread is deleted\n")


def show(message: str, response: FoundryResponse) -> None:
    """Print one exchange; a failed one ends the example with what the service said."""
    if not response.success:
        raise SystemExit(f"The message could not be answered: {response.error}")
    print(f"   you    {message}\n   agent  {response.content}")


def show_metrics(client: FoundryAgentServiceClient) -> None:
    """What the client counted since it was made."""
    print("3. Figures of this client")
    for name, value in client.get_metrics().items():
        print(f"   {name:<20} {value:.6g}")


async def show_health(client: FoundryAgentServiceClient) -> None:
    """Whether the service answers and knows the agent or model."""
    healthy = await client.health_check()
    print(f"\n4. Health: {'the service answers' if healthy else 'the service does not answer'}")


async def main() -> None:
    """Run all four steps."""
    try:
        async with FoundryAgentServiceClient(FoundryAgentServiceConfig.from_env()) as client:
            await send_a_message(client)
            await talk_on_a_thread(client)
            show_metrics(client)
            await show_health(client)
    except (FoundryError, SettingsError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    asyncio.run(main())
