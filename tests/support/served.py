"""The app on the local host with queues and a table of its own, and ways to look at what it did."""

import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.data.tables.aio import TableClient
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient

from local.services import (
    IDENTITY_HEADER,
    FoundryEmulator,
    FunctionsHost,
    HostLaunch,
    functions_host,
)

from . import census, forking
from .leaks import copy_app, leaks

JsonObject = dict[str, Any]

IDLE_POLLS = {"AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:05"}
"""An app that waits for the next test asks its six queues less often than in production: a dozen
of such apps would use half a core. A queue that is used is polled as often as ever."""

KEY_PARTITION = "key"
"""Where the rows of callers with a function key stand."""

REJECTED_PARTITION = "$rejected"


def _unique(prefix: str) -> str:
    return prefix + uuid.uuid4().hex[:12]


@dataclass(frozen=True)
class Deployment:
    """The settings of one app: nothing of it is shared with the app of another test."""

    storage: str
    """Connection string, as AzureWebJobsStorage takes it."""
    foundry: FoundryEmulator
    table: str = field(default_factory=lambda: _unique("state"))
    audit: str = field(default_factory=lambda: _unique("audit"))
    metrics: str = field(default_factory=lambda: _unique("metrics"))
    intake: str = field(default_factory=lambda: _unique("jobs-"))
    lanes: str = field(default_factory=lambda: _unique("lanes-"))
    deliveries: str = field(default_factory=lambda: _unique("deliveries-"))

    def environment(self, **overrides: str) -> dict[str, str]:
        """The environment of the app."""
        return {
            **IDLE_POLLS,
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "AzureWebJobsStorage": self.storage,
            "STATE_TABLE_NAME": self.table,
            "AUDIT_TABLE_NAME": self.audit,
            "METRICS_TABLE_NAME": self.metrics,
            "JOBS_QUEUE_NAME": self.intake,
            "LANES_QUEUE_NAME": self.lanes,
            "DELIVERIES_QUEUE_NAME": self.deliveries,
            "FOUNDRY_AGENT_SERVICE_ENDPOINT": self.foundry.project_endpoint,
            "FOUNDRY_AGENT_SERVICE_API_KEY": "",
            "FOUNDRY_AGENT_ID": "",
            "IDENTITY_ENDPOINT": self.foundry.token_endpoint,
            "IDENTITY_HEADER": IDENTITY_HEADER,
            "CONSOLE": "on",
            **overrides,
        }

    @contextmanager
    def serve(
        self, log_dir: Path, talkative: bool = True, /, **overrides: Any
    ) -> Generator[FunctionsHost]:
        """Run the app, at its most talkative; no secret is in its log when it has stopped."""
        app = copy_app(log_dir, talkative=talkative)
        launch = HostLaunch(
            environment=self.environment(**overrides), app_dir=app, spawn=forking.spawn
        )
        with functions_host(log_dir, launch) as host:
            yield host
        log = host.log_path.read_text("utf-8", "replace")
        assert (" DEBUG " in log) == talkative
        assert leaks(log) == []

    async def everything(self) -> str:
        """All rows of the app's tables."""
        rows: list[JsonObject] = []
        for name in (self.table, self.audit, self.metrics):
            async with TableClient.from_connection_string(self.storage, name) as client:
                with suppress(ResourceNotFoundError):  # nothing was ever written to it
                    rows += [dict(row) async for row in client.list_entities()]
        return repr(rows)

    async def audit_records(self) -> list[JsonObject]:
        """All rows of the audit trail."""
        async with TableClient.from_connection_string(self.storage, self.audit) as client:
            try:
                return [dict(row) async for row in client.list_entities()]
            except ResourceNotFoundError:
                return []

    async def rows(self, partition: str = KEY_PARTITION, kind: str = "") -> list[JsonObject]:
        """The rows of a partition whose key begins with ``kind``, in order."""
        async with TableClient.from_connection_string(self.storage, self.table) as client:
            found = client.query_entities(
                f"PartitionKey eq '{partition}' and RowKey ge '{kind}' and RowKey lt '{kind}~'"
            )
            try:
                return [dict(row) async for row in found]
            except ResourceNotFoundError:
                return []

    async def of_no_kind(self) -> list[str]:
        """Rows of all tables that no rule of retention is about, by table, partition and key."""
        found: list[str] = []
        for kind_of, table in (
            (census.state_kind, self.table),
            (census.audit_kind, self.audit),
            (census.metrics_kind, self.metrics),
        ):
            stored = await self.stored(table)
            found += [f"{table} {p} {key}" for p, key, _ in stored if kind_of(p, key) is None]
        return found

    async def stored(self, table: str = "") -> set[tuple[str, str, str]]:
        """Partition, key and version of every row: equal before and after means no write."""
        name = table or self.table
        async with TableClient.from_connection_string(self.storage, name) as client:
            versions: set[tuple[str, str, str]] = set()
            try:
                async for row in client.list_entities():
                    keys: JsonObject = dict(row)
                    etag = str(row.metadata["etag"])
                    versions.add((keys["PartitionKey"], keys["RowKey"], etag))
            except ResourceNotFoundError:
                return set()
            return versions

    @asynccontextmanager
    async def queue(self, name: str, *, base64: bool = True) -> AsyncGenerator[QueueClient]:
        """A client of one queue; with ``base64``, it sends as the Functions host expects."""
        policy = TextBase64EncodePolicy() if base64 else None
        async with QueueClient.from_connection_string(
            self.storage, name, message_encode_policy=policy
        ) as client:
            yield client

    async def waiting(self, name: str) -> list[str]:
        """The first messages of a queue, as they stand on the wire."""
        async with self.queue(name) as client:
            try:
                messages = await client.peek_messages(max_messages=32)
            except ResourceNotFoundError:
                return []
            return [str(message.content) for message in messages]

    async def depth(self, name: str) -> int:
        """About how many messages a queue holds, including those being processed."""
        async with self.queue(name) as client:
            return (await client.get_queue_properties()).approximate_message_count or 0


async def put_on_intake(deployment: Deployment, text: str) -> None:
    """Put a message on the public queue, as any producer may."""
    async with deployment.queue(deployment.intake) as queue:
        with suppress(ResourceExistsError):
            await queue.create_queue()
        await queue.send_message(text)


class EmulatorControl:
    """Controls the Foundry emulator, unknown to the app."""

    def __init__(self, foundry: FoundryEmulator) -> None:
        self._openai = f"{foundry.project_endpoint}/openai/v1"
        self._http = httpx.AsyncClient(
            base_url=foundry.url, headers={"Authorization": "Bearer local-token"}
        )

    async def inject(self, kind: str, operation: str = "responses.create", **more: Any) -> None:
        """Arm a fault."""
        fault = {"kind": kind, "operation": operation, **more}
        (await self._http.post("/_emulator/faults", json=fault)).raise_for_status()

    async def clear_faults(self) -> None:
        """Disarm all faults."""
        (await self._http.delete("/_emulator/faults")).raise_for_status()

    async def requests(self, operation: str | None = None) -> list[JsonObject]:
        """What Foundry was asked since the session began, oldest first."""
        query = {"operation": operation} if operation else {}
        answer = await self._http.get("/_emulator/requests", params=query)
        return answer.raise_for_status().json()["requests"]

    async def asked_for(self, text: str) -> list[JsonObject]:
        """The requests for responses with a text in their input; other tests' jobs may ask, too."""
        asked = await self.requests("responses.create")
        return [request for request in asked if text in str(request["body"].get("input"))]

    async def lose_conversation(self, conversation_id: str) -> None:
        """Delete a conversation as if it had expired in Foundry."""
        url = f"{self._openai}/conversations/{conversation_id}"
        (await self._http.delete(url)).raise_for_status()

    async def items(self, conversation_id: str) -> list[JsonObject]:
        """The items of a conversation, oldest first."""
        url = f"{self._openai}/conversations/{conversation_id}/items"
        answer = await self._http.get(url, params={"order": "asc", "limit": 100})
        return answer.raise_for_status().json()["data"]

    async def responses(self) -> list[JsonObject]:
        """All responses that Foundry stores, newest first."""
        found: list[JsonObject] = []
        query: dict[str, str | int] = {"limit": 100}
        while True:
            answer = await self._http.get(f"{self._openai}/responses", params=query)
            page = answer.raise_for_status().json()
            found += page["data"]
            if not page["has_more"]:
                return found
            query["after"] = page["last_id"]

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()
