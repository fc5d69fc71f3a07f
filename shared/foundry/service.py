"""Foundry as this product uses it: threads, turns, health.

One `FoundryService` serves a process. It connects when first used, so an app starts without a
configured or reachable Foundry, and each request that needs it gets the error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from time import monotonic
from typing import Any

import httpx

from ..config import KEY_AT_PROJECT, FoundryAgentServiceConfig, IdentitySettings
from ..config.endpoint import check_identity
from ..identity.credentials import Credential
from ..identity.errors import CredentialSettingsError
from ..identity.resolution import resolve_credential
from ..observability.upstream import waiting
from . import call_spans as spans
from .agents.checks import check_tools
from .agents.operations import MANAGEMENT_API_VERSION, Agents
from .conversations import Conversations
from .endpoint import AgentReference, Endpoint, Surface
from .errors import ConfigurationError, FoundryError, NotFoundError
from .events import Emit, ignore
from .exchange import BeforeSend, Link, may_send
from .loop_end import Home
from .metrics import ClientMetrics
from .models import MessagePage, ThreadRef, TurnRequest, TurnResult
from .reconcile import Reconciler
from .remembered import MAX_REMEMBERED_THREADS
from .responses import RequestBuilder
from .retry import Deadline, Gate, RetryPolicy
from .structured import AnswerText, parsed
from .tool_loop import HandOver, ToolLoop
from .tools import ApprovalCallback, Toolbox, ToolLike, deny, tools_refused
from .tools.toolbox import OfferedTool
from .transport import Call, Reply, Send, Transport
from .wire_json import JsonObject

MAX_STREAM_SECONDS = 1740.0
"""A stream may go on as long as an invocation of a function, less a minute to end in order."""

AGENT_SECONDS = 300.0
"""How long an agent's definition is cached; versions rarely change."""

MAX_DEPLOYMENTS = 256
"""Models whose quota is tracked separately; callers may name any model."""

SHORT_CALL_SECONDS = 30.0
"""For calls that do not wait for a model."""

LOOK_SECONDS = 10.0
"""For one request that looks up what a lost request has left."""

_UNKNOWN_THREAD = (
    "This client knows no thread {}. At a resource endpoint a thread is known to the client that "
    f"made it, as long as it is among the {MAX_REMEMBERED_THREADS:,} used last; another client can "
    "continue it by the id of its last answer, metadata['response_id']."
)


@dataclass(frozen=True, slots=True)
class _Connection:
    endpoint: Endpoint
    builder: RequestBuilder
    transport: Transport
    conversations: Conversations
    link_of: Callable[[str], Link]
    """How to send to a model deployment; the agent's has no name here."""
    send: Send
    reconciler: Reconciler


class FoundryService:
    """Talks to one Foundry endpoint with one identity."""

    def __init__(
        self,
        config: FoundryAgentServiceConfig,
        identity: IdentitySettings | None = None,
        *,
        tools: Iterable[Callable[..., Any]] = (),
        approve: ApprovalCallback = deny,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Store the configuration; `connect` checks it.

        Args:
            config: Where Foundry is and how its model should answer.
            identity: Which Entra identity to sign in with; default is what the environment says.
            tools: Custom tools, or plain functions, that messages may name.
            approve: Asked before an MCP server's tool is called; denies by default.
            http: The HTTP transport, for tests; None opens the app's own.
        """
        self.config = config
        self._toolbox = Toolbox(tools, config=config)
        self._approve = approve
        self.metrics = ClientMetrics()
        self._identity = identity
        self._http = http
        self._connected: _Connection | None = None
        self._home = Home()
        self._agent: JsonObject | None = None
        self._agent_read_at = 0.0

    def connect(self) -> None:
        """Check the configuration and make the connection pool; no request is sent.

        Raises:
            ConfigurationError: naming the setting that is missing or cannot work.
            RuntimeError: on another event loop than before, or in a fork of the process.
        """
        self._home.enter()
        if self._connected is None:
            self._connected = self._open()

    def _open(self) -> _Connection:
        endpoint = Endpoint.parse(self.config.endpoint_url)
        agent = self._agent_reference(endpoint)
        builder = RequestBuilder(self.config, agent, self._toolbox)
        transport = Transport(
            self._credential(endpoint),
            pool_size=self.config.pool_size,
            log_content=self.config.log_content,
            url=endpoint.openai,
            http=self._http,
        )
        retry = RetryPolicy(self.config.max_retries)

        async def send(call: Call) -> Reply:
            """Make a call that may safely be repeated, as all calls but those for a turn."""
            deadline = Deadline(SHORT_CALL_SECONDS)
            with waiting(), spans.call(call.method, call.url):
                return await retry.repeat(lambda s: transport.send(call, seconds=s), deadline)

        async def look(call: Call) -> Reply:  # `Exchange` repeats it and counts the time
            return await transport.send(call, seconds=LOOK_SECONDS)

        reconciler = Reconciler(endpoint.openai, look)

        @lru_cache(MAX_DEPLOYMENTS)
        def link_of(_deployment: str) -> Link:
            return Link(
                transport=transport,
                url=f"{endpoint.openai}/responses",
                reconciler=reconciler,
                retry=retry,
                gate=Gate(self.metrics, self.config.max_concurrency),
                metrics=self.metrics,
            )

        conversations = Conversations(endpoint, send)
        reader = Reconciler(endpoint.openai, send)
        return _Connection(endpoint, builder, transport, conversations, link_of, send, reader)

    def _agent_reference(self, endpoint: Endpoint) -> AgentReference | None:
        """The agent to ask; None at a resource endpoint, whose models are called directly."""
        if endpoint.surface is Surface.PROJECT:
            return AgentReference.parse(self.config.agent_id)
        try:
            check_identity(self.config.agent_id)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        return None

    def _credential(self, endpoint: Endpoint) -> Credential:
        if self.config.api_key and endpoint.surface is Surface.PROJECT:
            raise ConfigurationError(KEY_AT_PROJECT)
        try:
            return resolve_credential(self.config, self._identity)
        except CredentialSettingsError as error:
            raise ConfigurationError(str(error)) from error

    @property
    def _connection(self) -> _Connection:
        self.connect()
        assert self._connected is not None  # noqa: S101 - `connect` has just set it
        return self._connected

    async def respond(
        self,
        turn: TurnRequest,
        thread: ThreadRef | None = None,
        *,
        seconds: float | None = None,
        emit: Emit | None = None,
        before_send: BeforeSend = may_send,
    ) -> TurnResult:
        """Run one turn and return its result.

        A turn that is cancelled closes its connection at once.

        Args:
            turn: What to ask.
            thread: The thread to ask on; without one, the message stands alone.
            seconds: The most time for the whole turn.
            emit: Called with each event, which makes the answer a streamed one. Then the
                configured timeout bounds each silence, and ``seconds`` is by default
                `MAX_STREAM_SECONDS`.
            before_send: Awaited right before each request for a response; may raise to forbid it.

        Raises:
            FoundryError: if there is no answer.
        """
        connection = self._connection
        silence = self.config.timeout
        limit = silence if emit is None else MAX_STREAM_SECONDS
        if seconds is not None:  # 0 where the deadline has passed
            limit = seconds
        body = await self._body(turn, thread, streamed=emit is not None)
        loop = ToolLoop(
            link=connection.link_of(body.get("model", "")),
            body=body,
            thread=thread or ThreadRef(),
            deadline=Deadline(limit),
            silence=silence,
            toolbox=self._toolbox.with_tools(turn.tools),
            approve=self._approve,
            before_send=before_send,
            emit=emit or ignore,
            hand_over=HandOver(
                functions=turn.client_tools.names if turn.client_tools else frozenset(),
                approvals=turn.asks_caller,
                is_kept=thread is not None,
            ),
        )
        with self.metrics.turn(), waiting():
            try:
                return await self._completed(turn, await loop.run())
            except FoundryError as error:
                agent = connection.builder.agent
                model = agent.name if agent else turn.model or self.config.model
                raise tools_refused(error, model) or error from error

    async def _body(
        self, turn: TurnRequest, thread: ThreadRef | None, *, streamed: bool
    ) -> JsonObject:
        """The body of the turn's first request."""
        builder = self._connection.builder
        if turn.response_format is not None:
            turn.response_format.ready()
        body = builder.build(turn, thread)
        functions = turn.client_tools.names if turn.client_tools else ()
        if builder.agent and (wanted := [*turn.tools, *functions]):
            check_tools(await self._agent_version(), wanted)
        if streamed or turn.background:
            body["stream"] = True
        return body

    async def _completed(self, turn: TurnRequest, result: TurnResult) -> TurnResult:
        """The result with the agent's name and the value that the answer's format asks for."""
        self.metrics.used(result)
        if result.agent_id is None and self.config.agent_id:
            result = replace(result, agent_id=self.config.agent_id)
        if turn.response_format is None or not turn.checks_format or result.calls:
            return result  # calls come before the answer
        value = await parsed(AnswerText(result.content, result.refusal), turn.response_format)
        return replace(result, parsed=value)

    async def _agent_version(self) -> JsonObject:
        """The version of the agent in use, read again after `AGENT_SECONDS`."""
        connection, now = self._connection, monotonic()
        if self._agent is None or now - self._agent_read_at > AGENT_SECONDS:
            assert connection.builder.agent is not None  # noqa: S101 - asked for only with one
            agents = Agents(connection.endpoint, connection.send)
            self._agent = await agents.get(connection.builder.agent)
            self._agent_read_at = now
        return self._agent

    def tool_definitions(self, tools: Sequence[ToolLike]) -> list[JsonObject]:
        """The definitions of tools; none if they will be refused, or belong to the agent."""
        if self.config.asks_agent:
            return []
        try:
            return self._toolbox.definitions(tools)
        except FoundryError:
            return []

    def offered_tools(self) -> list[OfferedTool]:
        """Every tool that a message may name; an agent's own tools need no settings of ours."""
        tools = self._toolbox.offered()
        if self.config.asks_agent:
            tools = [replace(tool, needs=(), missing=()) for tool in tools]
        if not self.config.enable_foundry_tools:
            tools = [tool.switched_off() for tool in tools]
        return tools

    async def create_thread(self, metadata: dict[str, str]) -> ThreadRef:
        """Create a thread in Foundry."""
        if not self.config.enable_stateful_threads:
            raise ConfigurationError(
                "Threads are switched off. Set FOUNDRY_ENABLE_STATEFUL_THREADS=true to allow them."
            )
        return await self._connection.conversations.create(metadata)

    async def open_thread(self, thread_id: str) -> tuple[JsonObject, ThreadRef]:
        """The thread with this id: a conversation, or the chain that ends with a response.

        If an earlier turn left calls open there, the next message answers them.

        Raises:
            NotFoundError: if there is none, or the endpoint has no conversations.
        """
        if not self._connection.endpoint.has_conversations:
            if not thread_id.startswith("resp_"):
                raise NotFoundError(_UNKNOWN_THREAD.format(thread_id))
            return await self._connection.conversations.open_chain(thread_id)
        found = await self._connection.conversations.get(thread_id)
        tail = await self._connection.reconciler.tail(thread_id)
        return found, ThreadRef(
            thread_id, last_item_id=tail.last_item_id, calls_open=bool(tail.unanswered)
        )

    async def last_item_id(self, conversation_id: str) -> str | None:
        """The newest item of a conversation."""
        return await self._connection.conversations.last_item_id(conversation_id)

    async def items(
        self, conversation_id: str, *, limit: int, order: str, after: str | None
    ) -> tuple[list[JsonObject], bool]:
        """A page of a conversation's items in an ``order``, and whether more follow."""
        return await self._connection.conversations.items(
            conversation_id, limit=limit, order=order, after=after
        )

    async def add_items(
        self, conversation_id: str, items: Sequence[JsonObject]
    ) -> list[JsonObject]:
        """Add items at the end of a conversation; returns them with their ids."""
        return await self._connection.conversations.add_items(conversation_id, items)

    async def item(self, conversation_id: str, item_id: str) -> JsonObject | None:
        """One item of a conversation; None if there is none."""
        return await self._connection.conversations.item(conversation_id, item_id)

    async def delete_item(self, conversation_id: str, item_id: str) -> bool:
        """Delete an item of a conversation; returns whether it was there."""
        return await self._connection.conversations.delete_item(conversation_id, item_id)

    async def update_thread(self, thread: ThreadRef, metadata: dict[str, str]) -> None:
        """Replace the metadata that Foundry keeps for a thread, where it keeps any."""
        if thread.conversation_id:
            await self._connection.conversations.update(thread.conversation_id, metadata)

    async def delete_thread(self, thread: ThreadRef) -> None:
        """Delete a thread and its responses; what does not exist counts as deleted."""
        await self._connection.conversations.delete(thread)

    async def delete_responses(self, ids: Iterable[str]) -> None:
        """Delete stored responses; one that does not exist counts as deleted."""
        await self._connection.conversations.delete_responses(ids)

    async def messages(
        self, thread: ThreadRef, *, limit: int = 20, cursor: str | None = None
    ) -> MessagePage:
        """A page of a thread's history, newest message first; ``limit`` is 1 to 100."""
        return await self._connection.conversations.messages(thread, limit, cursor)

    async def check(self) -> None:
        """Ask Foundry for the agent or model in use; costs no tokens.

        Raises:
            FoundryError: saying what is wrong.
        """
        connection = self._connection
        root = connection.endpoint.root
        if connection.endpoint.surface is Surface.RESOURCE:
            call = Call("GET", f"{connection.endpoint.openai}/models")
        else:
            agent = connection.builder.agent
            path = f"agents/{agent.name}" if agent else f"deployments/{self.config.model}"
            call = Call("GET", f"{root}/{path}", query={"api-version": MANAGEMENT_API_VERSION})
        await connection.transport.send(call, seconds=SHORT_CALL_SECONDS)

    async def authenticate(self) -> None:
        """Check that there is a key or a token; no request goes to Foundry.

        Raises:
            FoundryError: saying what is missing.
        """
        await self._connection.transport.authenticate()

    async def healthy(self) -> bool:
        """Whether `check` passes."""
        try:
            await self.check()
        except FoundryError:
            return False
        return True

    async def aclose(self) -> None:
        """Close all connections."""
        if self._connected is not None:
            await self._connected.transport.aclose()
            self._connected = None
