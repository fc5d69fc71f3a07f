"""Storage that refuses the app says why, to callers and in readiness."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from local.services import FoundryEmulator
from tests.support.served import Deployment

KEY = "a2V5" * 22
REFUSALS = {
    "AuthorizationFailure": (403, "network rules"),
    "KeyBasedAuthenticationNotPermitted": (403, "AzureWebJobsStorage__accountName"),
    "AccountIsDisabled": (403, "disabled"),
    "AuthorizationPermissionMismatch": (403, "Storage Table Data Contributor"),
    "AccountBeingCreated": (409, "being created"),
    "AccountLimitExceeded": (409, "full"),
}


class RefusingStorage:
    """A storage account that refuses everything with one code."""

    def __init__(self) -> None:
        self.status, self.code, self.port = 403, "", 0

    @property
    def connection_string(self) -> str:
        places = "".join(
            f"{kind}Endpoint=http://127.0.0.1:{self.port}/account;"
            for kind in ("Blob", "Queue", "Table")
        )
        return f"DefaultEndpointsProtocol=http;AccountName=account;AccountKey={KEY};{places}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        for line in head.lower().splitlines():
            if line.startswith("content-length:"):
                await reader.readexactly(int(line.partition(":")[2]))
        error = {"odata.error": {"code": self.code, "message": {"lang": "en", "value": "No."}}}
        body = json.dumps(error).encode()
        writer.write(
            f"HTTP/1.1 {self.status} No\r\nx-ms-error-code: {self.code}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def refusing_storage() -> AsyncGenerator[RefusingStorage]:
    storage = RefusingStorage()
    server = await asyncio.start_server(storage.answer, "127.0.0.1")
    storage.port = server.sockets[0].getsockname()[1]
    try:
        yield storage
    finally:
        server.close()


async def test_each_refusal_of_storage_says_what_it_is(
    foundry: FoundryEmulator, tmp_path: Path
) -> None:
    async with refusing_storage() as storage:
        deployment = Deployment(storage.connection_string, foundry)
        storage.code = "AuthorizationFailure"
        with deployment.serve(tmp_path, False) as host:
            async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=60) as caller:
                checks = (await caller.get("health/ready")).json()["checks"]
                answers: dict[str, httpx.Response] = {}
                for code, (status, _) in REFUSALS.items():
                    storage.status, storage.code = status, code
                    answers[code] = await caller.post("threads", json={})
    for name in ("table", "queues", "poison"):
        assert "AuthorizationFailure" in checks[name]["detail"]
        assert "network rules" in checks[name]["detail"]
    for code, (_, told) in REFUSALS.items():
        problem = answers[code].json()
        assert (answers[code].status_code, problem["code"]) == (503, "storage_unavailable"), code
        assert code in problem["detail"]
        assert told in problem["detail"]
