"""The client library in seven steps: from one message to a health check.

Uses the endpoint that the FOUNDRY_* environment variables name; see README.md in this folder.
"""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from a checkout

from shared.config import SettingsError
from shared.foundry import FoundryError
from shared.ml import FoundryAgentServiceClient, FoundryAgentServiceConfig, FoundryResponse
from shared.orchestration import ModelOrchestrator, ModelType


async def send_a_message(client: FoundryAgentServiceClient) -> None:
    """Send one message without a thread."""
    print("1. One message")
    response = await client.send_message("What is Azure AI Foundry? Answer in one sentence.")
    show("What is Azure AI Foundry?", response)
    print(f"   model {response.model}, tokens {response.usage}\n")


async def talk_on_a_thread(client: FoundryAgentServiceClient) -> None:
    """Send three messages on a thread; the answer to the last needs the first."""
    print("2. A thread")
    thread_id = await client.create_thread({"example": "true"})
    for message in ("My name is Ada.", "I like mathematics.", "What is my name?"):
        show(message, await client.send_message(message, thread_id=thread_id))
    info = await client.get_thread_info(thread_id)
    if info is not None:
        print(f"   {info.message_count} messages were sent on {thread_id}")
    await client.delete_thread(thread_id)
    print("   the thread is deleted\n")


async def offer_tools(client: FoundryAgentServiceClient) -> None:
    """Offer a tool with a message; not every model and agent supports tools."""
    print("3. Tools")
    response = await client.send_message("What is 17 * 23?", tools=["data_analysis"])
    if response.success:
        show("What is 17 * 23?", response)
        print(f"   tools used: {', '.join(response.tools_used) or 'none'}\n")
    else:
        print(f"   not here: {response.error}\n")


async def orchestrate() -> None:
    """Run two turns of one conversation and print which model answered."""
    print("4. The orchestrator")
    async with ModelOrchestrator() as orchestrator:
        chosen = await orchestrator.select_optimal_model(domain="leadership")
        print(f"   preferred for leadership: {chosen.value}")
        for message in ("Our priority is quality.", "What is our priority?"):
            result = await orchestrator.process_model_request(
                model_type=ModelType.FOUNDRY_AGENT_SERVICE,
                domain="leadership",
                user_input=message,
                conversation_id="conv-001",
            )
            if not result["success"]:
                raise SystemExit(f"The message could not be answered: {result['error']}")
            print(f"   you    {message}\n   {result['source']}  {result['reply']}")
        print(f"   both on {result['thread_id']}, {result['execution_time']:.2f} s\n")


async def configure(base: FoundryAgentServiceConfig) -> None:
    """Configure a client in code, and set options for one message."""
    print("5. Configuration")
    config = FoundryAgentServiceConfig(
        endpoint_url=base.endpoint_url,
        api_key=base.api_key,
        model=base.model,
        temperature=0.8,
        max_tokens=256,
        top_p=0.95,
        timeout=90,
        max_retries=5,
    )
    async with FoundryAgentServiceClient(config) as client:
        response = await client.send_message(
            "Name one idea for a product roadmap.",
            domain="product_strategy",
            system_prompt="You are an adviser who answers in one sentence.",
            temperature=0.9,
            max_tokens=64,
        )
        show("Name one idea for a product roadmap.", response)
        print(f"   temperature {config.temperature} by default, 0.9 for this message\n")


def show(message: str, response: FoundryResponse) -> None:
    """Print a question and its answer; on failure, exit with the error of the service."""
    if not response.success:
        raise SystemExit(f"The message could not be answered: {response.error}")
    print(f"   you    {message}\n   agent  {response.content}")


def show_metrics(client: FoundryAgentServiceClient) -> None:
    """Print what the client has counted since it was created."""
    print("6. Metrics of the first client")
    for name, value in client.get_metrics().items():
        print(f"   {name:<20} {value:.6g}")


async def show_health(client: FoundryAgentServiceClient) -> None:
    """Print whether the service answers and has the agent or model."""
    healthy = await client.health_check()
    print(f"\n7. Health: {'the service answers' if healthy else 'the service does not answer'}")


async def main() -> None:
    """Run all steps."""
    try:
        async with FoundryAgentServiceClient(FoundryAgentServiceConfig.from_env()) as client:
            await send_a_message(client)
            await talk_on_a_thread(client)
            await offer_tools(client)
            await orchestrate()
            await configure(client.config)
            show_metrics(client)
            await show_health(client)
    except (FoundryError, SettingsError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    asyncio.run(main())
