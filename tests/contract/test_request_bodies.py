"""Every request the client can send, and its answer, against the types of the `openai` package."""

from __future__ import annotations

import asyncio
import json
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from typing import Any

import httpx
import pytest
from openai.types.conversations import (
    Conversation,
    ConversationCreateParams,
    ConversationDeletedResource,
    ConversationItemList,
    ConversationUpdateParams,
    ItemCreateParams,
)
from openai.types.responses import (
    Response,
    ResponseCreateParams,
    ResponseItemList,
    ResponseStreamEvent,
)
from pydantic import BaseModel, TypeAdapter

from shared.config import FoundryAgentServiceConfig, IdentitySettings
from shared.foundry.client import FoundryAgentServiceClient
from shared.foundry.content import file_part, image_part
from shared.foundry.events import ignore
from shared.foundry.models import ThreadRef, TurnRequest
from shared.foundry.service import FoundryService
from shared.foundry.structured import response_format
from shared.foundry.tools import ToolLike, tool

from .conftest import API_KEY, Emulator, message

JsonObject = dict[str, Any]

SEEING = "gpt-4.1"
"""A deployment that takes images and tools."""

PNG = b"\x89PNG\r\n\x1a\n"
AGENT = {"type": "agent_reference", "name": "assistant"}

_ID = re.compile(r"/(conv|resp)_\w+")


class Town(BaseModel):
    """What an answer may be read as."""

    name: str
    people: int


@tool
async def order_status(order_id: int, note: str | None = None) -> str:
    """Tell where an order is.

    Args:
        order_id: Its number.
        note: Anything else.
    """
    return f"{order_id} {note}"


TOOLS: dict[str, tuple[ToolLike, ...]] = {
    "none": (),
    "custom": ("order_status",),
    "named": ("data_analysis", "knowledge_retrieval", "web_search"),
    "typed": (
        {"type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": 3},
        {
            "type": "mcp",
            "server_label": "s",
            "server_url": "https://s",
            "require_approval": "never",
        },
    ),
}
PARTS: dict[str, tuple[JsonObject, ...]] = {
    "text": (),
    "images": (image_part(PNG, "high"), image_part("https://example.com/a.png")),
    "files": (
        file_part(data=b"%PDF-1.7", filename="a.pdf"),
        file_part(file_url="https://example.com/a.pdf"),
        file_part(file_id="file_1"),
    ),
}
FORMATS: dict[str, Any] = {
    "plain": None,
    "model": response_format(Town),
    "schema": response_format({"type": "object", "properties": {"a": {"type": "string"}}}),
}
OPTIONS: dict[str, JsonObject] = {
    "bare": {},
    "all": {
        "system_prompt": "Be brief.",
        "temperature": 0.1,
        "top_p": 0.2,
        "max_tokens": 400,
        "metadata": {"k": "v"},
    },
    "domain": {"domain": "sales", "metadata": {"k": "v"}},
}
BESIDE_AGENT = {"max_tokens", "metadata", "domain"}


@dataclass(frozen=True)
class Exchanged:
    """A request and its answer, as they stood on the wire."""

    request: httpx.Request
    status: int
    content: bytes

    @property
    def operation(self) -> str:
        path = self.request.url.path.split("/openai/v1/")[-1]
        return f"{self.request.method} {_ID.sub('/*', '/' + path)}"

    @property
    def body(self) -> JsonObject:
        return json.loads(self.request.content) if self.request.content else {}


@dataclass
class RecordingTransport(httpx.AsyncBaseTransport):
    """Carries requests to the emulator, and keeps them with their answers."""

    seen: list[Exchanged] = field(default_factory=list[Exchanged])
    _carrier: httpx.AsyncHTTPTransport = field(default_factory=httpx.AsyncHTTPTransport)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._carrier.handle_async_request(request)
        content = await response.aread()
        await response.aclose()
        self.seen.append(Exchanged(request, response.status_code, content))
        return httpx.Response(
            response.status_code, headers=response.headers, stream=httpx.ByteStream(content)
        )

    async def aclose(self) -> None:
        await self._carrier.aclose()


@pytest.fixture
def identity(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> IdentitySettings:
    endpoint = f"{emulator.origin}/msi/token"
    monkeypatch.setenv("IDENTITY_ENDPOINT", endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", "local-identity")
    return IdentitySettings(managed_identity_endpoint=endpoint)


def config_of(emulator: Emulator, surface: str, **more: Any) -> FoundryAgentServiceConfig:
    at = {
        "project": {"endpoint_url": emulator.project},
        "resource": {"endpoint_url": f"{emulator.origin}/openai/v1", "api_key": API_KEY},
    }
    settings: JsonObject = {
        **at[surface],
        "model": SEEING,
        "vector_store_ids": "vs_1",
        "max_retries": 0,
        **more,
    }
    return FoundryAgentServiceConfig.model_validate(settings)


def opened(
    emulator: Emulator, identity: IdentitySettings, answerer: str, http: httpx.AsyncBaseTransport
) -> FoundryService:
    surface = "resource" if answerer == "model at a resource" else "project"
    config = config_of(emulator, surface, agent_id="assistant" if answerer == "agent" else "")
    return FoundryService(config, identity, tools=[order_status], http=http)


ANSWERERS = pytest.mark.parametrize(
    "answerer", ["model at a resource", "model at a project", "agent"]
)
PLACES: dict[str, ThreadRef | None] = {
    "alone": None,
    "thread": ThreadRef("conv_1"),
    "new chain": ThreadRef(),
    "chain": ThreadRef(last_response_id="resp_1"),
}
TOWN = {"type": "output_text", "text": '{"name": "Ghent", "people": 265000}'}
ANSWER: JsonObject = {
    "id": "resp_2",
    "status": "completed",
    "output": [{"type": "message", "role": "assistant", "content": [TOWN]}],
}


def answered_at_once(sent: list[JsonObject]) -> httpx.MockTransport:
    """Keeps the bodies of requests and answers each with the least that is an answer."""

    def answer(request: httpx.Request) -> httpx.Response:
        body: JsonObject = json.loads(request.content)
        sent.append(body)
        if not body.get("stream"):
            return httpx.Response(200, json=ANSWER)
        event = json.dumps({"type": "response.completed", "response": ANSWER})
        return httpx.Response(200, stream=httpx.ByteStream(f"data: {event}\n\n".encode()))

    return httpx.MockTransport(answer)


def asking_for_approval(sent: list[JsonObject]) -> httpx.MockTransport:
    """Keeps the bodies of requests, and asks once whether an MCP server's tool may be called."""
    asked = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "n", "server_label": "s"}
    answers = [{**ANSWER, "output": [asked]}, ANSWER]

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(200, json=answers[len(sent) - 1])

    return httpx.MockTransport(answer)


def turns(*, agent: bool) -> Iterator[TurnRequest]:
    """Turns with all combinations of options that may stand together."""
    rows = product(TOOLS.values(), PARTS.values(), FORMATS.values(), OPTIONS.values(), [0, 1])
    for tools, parts, wanted, options, background in rows:
        if agent and (tools or wanted or options.keys() - BESIDE_AGENT):
            continue
        yield TurnRequest(
            "hi",
            tools=tools,
            parts=parts,
            response_format=wanted,
            background=bool(background),
            **options,
        )


async def run(service: FoundryService, turn: TurnRequest, backing: ThreadRef | None) -> None:
    await service.respond(turn, backing)
    await service.respond(turn, backing, emit=ignore)


@cache
def adapter(wanted: Any) -> TypeAdapter[Any]:
    return TypeAdapter(wanted)


def check(wanted: Any, body: Any) -> None:
    """Validate strictly; what the types hold lazily is validated as well."""
    value = adapter(wanted).validate_json(json.dumps(body), strict=True)
    for name in ("tools", "items"):
        if isinstance(value, dict):
            list(typing.cast("JsonObject", value).get(name) or [])


@cache
def fields_of(params: Any) -> frozenset[str]:
    members = typing.get_args(params) or (params,)
    return frozenset(name for member in members for name in typing.get_type_hints(member))


def check_request(params: Any, body: JsonObject) -> None:
    """A request has the package's fields, of its types, and `agent_reference` beside them."""
    ours = dict(body)
    reference = ours.pop("agent_reference", None)
    assert reference is None or reference == AGENT
    assert ours.keys() <= fields_of(params)
    check(params, ours)


def check_answer(exchanged: Exchanged, wanted: Any) -> None:
    if exchanged.body.get("stream"):
        for line in exchanged.content.decode().splitlines():
            if line.startswith("data: "):
                check(ResponseStreamEvent, json.loads(line.removeprefix("data: ")))
        return
    check(wanted, json.loads(exchanged.content))


OPERATIONS: dict[str, tuple[Any, Any]] = {
    "POST /responses": (ResponseCreateParams, Response),
    "GET /responses": (None, JsonObject),  # Foundry's own: the package has no type for it
    "GET /responses/*": (None, Response),
    "DELETE /responses/*": (None, JsonObject),
    "GET /responses/*/input_items": (None, ResponseItemList),
    "POST /conversations": (ConversationCreateParams, Conversation),
    "GET /conversations/*": (None, Conversation),
    "POST /conversations/*": (ConversationUpdateParams, Conversation),
    "DELETE /conversations/*": (None, ConversationDeletedResource),
    "GET /conversations/*/items": (None, ConversationItemList),
    "POST /conversations/*/items": (ItemCreateParams, ConversationItemList),
}
"""Of each operation that the client uses: the type of its request's body, and of its answer."""


def check_all(wire: RecordingTransport) -> set[str]:
    """Hold everything on the wire to its types, and tell which operations there were."""
    for exchanged in wire.seen:
        assert exchanged.status == 200, exchanged.content
        params, answer = OPERATIONS[exchanged.operation]
        if params is not None:
            check_request(params, exchanged.body)
        else:
            assert exchanged.body == {}
        check_answer(exchanged, answer)
    return {exchanged.operation for exchanged in wire.seen}


async def test_a_wrong_body_would_be_noticed() -> None:
    body: JsonObject = {"model": "m", "input": [message("hi")]}
    check_request(ResponseCreateParams, body)
    for wrong in (
        {"temperature": "hot"},
        {"tools": [{"type": "function", "name": 5}]},
        {"input": [{"type": "message", "role": "nobody", "content": "hi"}]},
        {"agent_reference": {"name": "assistant"}},
        {"max_tokens": 5},
    ):
        with pytest.raises((ValueError, AssertionError)):
            check_request(ResponseCreateParams, {**body, **wrong})


@ANSWERERS
async def test_every_combination_of_options_fits(
    emulator: Emulator, identity: IdentitySettings, answerer: str
) -> None:
    sent: list[JsonObject] = []
    service = opened(emulator, identity, answerer, answered_at_once(sent))
    agent = answerer == "agent"
    for turn, backing in product(turns(agent=agent), PLACES.values()):
        await run(service, turn, backing)
    await service.aclose()
    for body in sent:
        check_request(ResponseCreateParams, body)
    seen = {name for body in sent for name in body}
    always = {"input", "store", "stream", "background", "metadata", "max_output_tokens"}
    assert always | {"conversation", "previous_response_id"} <= seen
    assert ("agent_reference" in seen) == agent
    assert ({"model", "tools", "text", "instructions"} <= seen) != agent


@ANSWERERS
async def test_requests_are_taken_and_answers_fit(
    emulator: Emulator, identity: IdentitySettings, answerer: str
) -> None:
    wire = RecordingTransport()
    service = opened(emulator, identity, answerer, wire)
    rows = [TurnRequest("hi", **options) for options in OPTIONS.values()]
    rows.append(TurnRequest("hi", background=True))
    if answerer != "agent":
        rows += [TurnRequest("hi", parts=parts) for parts in PARTS.values()]
        rows += [TurnRequest("hi", tools=tools) for tools in TOOLS.values()]
        rows += [TurnRequest("hi", response_format=wanted) for wanted in FORMATS.values()]
    else:
        rows = [turn for turn in rows if turn.system_prompt is None]
    for turn in rows:
        await run(service, turn, None)
        await run(service, turn, await service.create_thread({}))
    await service.aclose()
    assert "POST /responses" in check_all(wire)


async def test_follow_ups_and_continuations_fit(
    emulator: Emulator, identity: IdentitySettings, raw: httpx.AsyncClient
) -> None:
    wire = RecordingTransport()
    config = config_of(emulator, "project", timeout=2)
    service = FoundryService(config, identity, tools=[order_status], http=wire)
    turn = TurnRequest('/call order_status {"order_id": 7}', tools=("order_status",))
    call = {"type": "function_call", "call_id": "c", "name": "order_status", "arguments": "{}"}
    for left in ([message(turn.message)], [message("other"), call]):
        thread = await service.create_thread({})
        path = f"conversations/{thread.conversation_id}/items"
        (await raw.post(path, json={"items": left})).raise_for_status()
        await service.respond(turn, replace(thread, look_first=True))
    await service.aclose()
    operations = check_all(wire)
    assert {"POST /responses", "GET /conversations/*/items"} <= operations
    inputs = [e.body["input"] for e in wire.seen if e.operation == "POST /responses"]
    kinds = [[item["type"] for item in items] for items in inputs]
    answer = ["function_call_output"]
    assert kinds == [[], answer, [*answer, "message"], answer]


@pytest.mark.parametrize("place", PLACES)
async def test_an_answer_to_an_approval_fits(
    emulator: Emulator, identity: IdentitySettings, place: str
) -> None:
    sent: list[JsonObject] = []
    service = opened(emulator, identity, "model at a project", asking_for_approval(sent))
    await service.respond(TurnRequest("hi", tools=TOOLS["typed"]), PLACES[place])
    await service.aclose()
    for body in sent:
        check_request(ResponseCreateParams, body)
    (approval,) = sent[-1]["input"]
    assert (approval["type"], approval["approve"]) == ("mcp_approval_response", False)


async def test_an_agents_own_function_is_run_for_a_message_that_stands_alone(
    emulator: Emulator, identity: IdentitySettings, raw: httpx.AsyncClient
) -> None:
    definition = {"kind": "prompt", "model": SEEING, "tools": [order_status.definition()]}
    versions = f"{emulator.project}/agents/clerk/versions"
    made = await raw.post(versions, params={"api-version": "v1"}, json={"definition": definition})
    made.raise_for_status()
    config = config_of(emulator, "project", agent_id="clerk")
    service = FoundryService(config, identity, tools=[order_status])
    result = await service.respond(TurnRequest('/call order_status {"order_id": 7}'))
    await service.aclose()
    assert result.content == "order_status answered: 7 None"


async def leave_at_a_tool(client: FoundryAgentServiceClient, thread_id: str) -> None:
    """Be cancelled while a tool runs, whose answer is then put into the conversation."""
    running = asyncio.Event()

    async def endless() -> str:
        """Run until stopped."""
        running.set()
        await asyncio.Event().wait()
        return ""

    sending = asyncio.create_task(client.send_message("/call endless", thread_id, tools=[endless]))
    await asyncio.wait_for(running.wait(), 20)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_every_operation_of_the_documented_client_fits(
    emulator: Emulator, identity: IdentitySettings
) -> None:
    operations: set[str] = set()
    for surface in ("project", "resource"):
        wire = RecordingTransport()
        config = config_of(emulator, surface)
        async with FoundryAgentServiceClient(config, identity=identity, http=wire) as client:
            thread_id = await client.create_thread({"k": "v"})
            await client.send_message_or_raise("one", thread_id)
            await client.send_message_or_raise("two", thread_id)
            await client.list_messages(thread_id)
            await client.update_thread(thread_id, {"k": "w"})
            if surface == "project":
                async with FoundryAgentServiceClient(
                    config, identity=identity, http=RecordingTransport(wire.seen)
                ) as other:
                    await other.get_thread_info(thread_id)
                await leave_at_a_tool(client, thread_id)
                await client.delete_thread(thread_id)
        operations |= check_all(wire)
    assert operations == set(OPERATIONS)
