"""Rows are written with tokens of the managed identity, which azure-identity gets over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast
from unittest.mock import AsyncMock

import httpx
import pytest
from azure.data.tables.aio import TableClient

from shared.config import IdentitySettings
from shared.identity.credentials import EntraCredential
from shared.identity.resolution import token_credential
from shared.state.azure_table import TABLE_STORAGE, AzureTable
from shared.state.clock import StorageClock
from shared.state.errors import StorageUnavailableError
from shared.state.service import Endpoint, StorageService
from shared.state.signing import STORAGE_SCOPE, EntraToken
from shared.state.table import Change, Operation
from tests.support.fake_entra import MANAGED, Answer, FakeEntra, FakeTime
from tests.support.table_service import TableService
from tests.support.waiting import eventually

LIFETIME_SECONDS = 3_600


@dataclass
class WatchedService(TableService):
    """Notes which token each request carried."""

    tokens: list[str] = field(default_factory=list[str])

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.tokens.append(request.headers["Authorization"].removeprefix("Bearer "))
        return await super().handle_async_request(request)


@pytest.fixture
def storage() -> WatchedService:
    return WatchedService()


@pytest.fixture
async def table(
    storage: WatchedService, entra: FakeEntra, clock: FakeTime
) -> AsyncIterator[AzureTable]:
    entra.lifetimes.managed = LIFETIME_SECONDS
    settings = IdentitySettings(managed_identity_endpoint=entra.identity_endpoint)
    tokens = token_credential(settings)
    assert tokens is not None
    bearer = EntraCredential(tokens, STORAGE_SCOPE, clock=clock)
    endpoint = Endpoint("https://a.table.core.windows.net", EntraToken(bearer))
    service = StorageService(TABLE_STORAGE, endpoint, http=storage)
    client = cast("TableClient", AsyncMock())
    yield AzureTable("rows", lambda: client, service, StorageClock())
    await bearer.aclose()


def insert(key: str) -> list[Change]:
    return [Change(Operation.INSERT, key)]


async def test_writes_at_once_share_one_token(
    table: AzureTable, storage: WatchedService, entra: FakeEntra
) -> None:
    await asyncio.gather(*(table.write("p", insert(f"row:{n}")) for n in range(20)))
    assert entra.requests(MANAGED) == 1
    assert b"resource=https://storage.azure.com" in entra.bodies[MANAGED][0]
    assert storage.tokens == entra.issued * 20


async def test_a_token_is_renewed_ahead_of_its_end_and_used_until_then(
    table: AzureTable, storage: WatchedService, entra: FakeEntra, clock: FakeTime
) -> None:
    await table.write("p", insert("a"))
    clock.advance(LIFETIME_SECONDS * 0.6)
    entra.gate.clear()
    await table.write("p", insert("b"))
    assert storage.tokens == entra.issued * 2, "the write does not wait for the new token"
    entra.gate.set()


async def test_without_a_token_the_error_says_what_to_check(
    table: AzureTable, storage: WatchedService, entra: FakeEntra
) -> None:
    entra.answers[MANAGED] = [Answer(400, {"statusCode": 400, "message": "no identity"})] * 2
    with pytest.raises(StorageUnavailableError, match="AZURE_CLIENT_ID"):
        await table.write("p", insert("a"))
    assert storage.tokens == []
    entra.answers[MANAGED] = []
    await table.write("p", insert("a"))
    await eventually(lambda: len(storage.tokens) == 1)
