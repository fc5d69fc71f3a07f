"""Signatures as the Azure libraries make them, and where the account's services are."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.rest import HttpRequest
from azure.data.tables._authentication import SharedKeyCredentialPolicy as TablePolicy
from azure.data.tables.aio import TableClient
from azure.storage.queue._shared.authentication import SharedKeyCredentialPolicy as QueuePolicy
from azure.storage.queue.aio import QueueServiceClient

from local.azurite import ACCOUNT, ACCOUNT_KEY
from shared.config import StorageSettings
from shared.jobs.queue import _message
from shared.state import table_wire
from shared.state.account import DEVELOPMENT_STORAGE, endpoint
from shared.state.service import Endpoint
from shared.state.signing import (
    EntraToken,
    SharedAccessSignature,
    SharedKey,
    SignIn,
    StorageRequest,
    queue_text,
    table_text,
)
from shared.state.table import Change, Operation

DATED = {"x-ms-date": "Mon, 30 Nov 2026 00:46:56 GMT", "x-ms-version": "2019-02-02"}
INSERT = Change(Operation.INSERT, "thread:1", {"a": "b"})
MERGE = Change(Operation.MERGE, "it's a/key?ü", {"a": "b"}, 'W/"1"')
DELETE = Change(Operation.DELETE, "thread:1")
ACCOUNTS = {"https://account.{}.core.windows.net": "", "http://127.0.0.1:10002": f"/{ACCOUNT}"}


def dated(request: StorageRequest) -> StorageRequest:
    return StorageRequest(
        request.method, request.path, {**request.headers, **DATED}, request.body, request.query
    )


def by_library(policy: TablePolicy | QueuePolicy, request: StorageRequest, base: str) -> str:
    """The header that a library's policy adds to the same request."""
    headers = dict(request.headers)
    if request.body:
        headers["Content-Length"] = str(len(request.body))
    sent = HttpRequest(request.method, base + request.path, headers=headers, params=request.query)
    policy.on_request(PipelineRequest(sent, PipelineContext(Mock())))
    return sent.headers["Authorization"]


@pytest.mark.parametrize(("base", "prefix"), ACCOUNTS.items())
@pytest.mark.parametrize(
    "request_",
    [
        table_wire.read("rows", "own'er ü", "thread:1"),
        *(table_wire.write("rows", "own'er:%", change) for change in (INSERT, MERGE, DELETE)),
        table_wire.transaction("https://host", "rows", "p", [INSERT, DELETE]),
    ],
)
async def test_the_key_signs_for_tables_as_azure_data_tables_does(
    base: str, prefix: str, request_: StorageRequest
) -> None:
    request = dated(request_)
    headers = await SharedKey(ACCOUNT, ACCOUNT_KEY, table_text).headers(
        request, prefix + request.path
    )
    policy = TablePolicy(AzureNamedKeyCredential(ACCOUNT, ACCOUNT_KEY))
    expected = by_library(policy, request, base.format("table") + prefix)
    assert headers == {"Authorization": expected}


@pytest.mark.parametrize(("base", "prefix"), ACCOUNTS.items())
@pytest.mark.parametrize("body", [b"", b"text", b"x" * 5000])
async def test_the_key_signs_for_queues_as_azure_storage_queue_does(
    base: str, prefix: str, body: bytes
) -> None:
    request = dated(_message("agent-lanes", body, 7))
    headers = await SharedKey(ACCOUNT, ACCOUNT_KEY, queue_text).headers(
        request, prefix + request.path
    )
    policy = QueuePolicy(ACCOUNT, ACCOUNT_KEY)
    expected = by_library(policy, request, base.format("queue") + prefix)
    assert headers == {"Authorization": expected}


KEYED = f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY}"


@pytest.mark.parametrize(
    "connection",
    [
        f"DefaultEndpointsProtocol=https;{KEYED};EndpointSuffix=core.windows.net",
        f"{KEYED};EndpointSuffix=core.chinacloudapi.cn;DefaultEndpointsProtocol=https",
        f"defaultendpointsprotocol=https;{KEYED.lower().split(';')[0]};{KEYED.split(';')[1]}",
        f"{KEYED};TableEndpoint=http://127.0.0.1:1/acc;QueueEndpoint=http://127.0.0.1:2/acc;",
        f"{KEYED};TableEndpoint=https://t.example/;QueueEndpoint=https://q.example/",
    ],
)
def test_the_services_are_where_the_libraries_find_them(connection: str) -> None:
    storage = StorageSettings(connection_string=connection)
    table = endpoint(storage, "table", None)
    queue = endpoint(storage, "queue", None)
    assert isinstance(table.authorization, SharedKey)
    theirs = TableClient.from_connection_string(connection, "rows")
    assert table.url.rstrip("/") == theirs.url.rstrip("/")
    queues = QueueServiceClient.from_connection_string(connection)
    assert queue.url.rstrip("/") == queues.url.rstrip("/")


def test_the_emulator_has_a_short_name() -> None:
    storage = StorageSettings(connection_string=DEVELOPMENT_STORAGE)
    urls = [endpoint(storage, kind, None).url for kind in ("table", "queue")]
    assert urls == [f"http://127.0.0.1:{port}/{ACCOUNT}" for port in (10002, 10001)]


@pytest.mark.parametrize("signature", ["sv=2020&sig=a%2Bb", "?sv=2020&sig=a%2Bb"])
async def test_a_signature_goes_into_each_url(signature: str) -> None:
    connection = f"AccountName=account;SharedAccessSignature={signature}"
    given = endpoint(StorageSettings(connection_string=connection), "table", None)
    assert isinstance(given.authorization, SharedAccessSignature)
    assert given.authorization.query == "sv=2020&sig=a%2Bb"
    assert await given.authorization.headers(table_wire.read("r", "p", "r"), "/") == {}


async def test_without_a_connection_string_the_identity_signs_in() -> None:
    storage = StorageSettings(
        table_service_uri="https://a.table.core.windows.net",
        queue_service_uri="https://a.queue.core.windows.net",
    )

    class Bearer:
        async def headers(self) -> dict[str, str]:
            return {"Authorization": "Bearer token"}

        async def aclose(self) -> None: ...

    for kind in ("table", "queue"):
        given = endpoint(storage, kind, SignIn(Mock(), Bearer()))
        assert given == Endpoint(f"https://a.{kind}.core.windows.net", given.authorization)
        assert isinstance(given.authorization, EntraToken)
        sent = await given.authorization.headers(table_wire.read("r", "p", "r"), "/")
        assert sent == {"Authorization": "Bearer token"}
    with pytest.raises(ValueError, match="identity"):
        endpoint(storage, "table", None)


def test_a_connection_string_without_a_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="AccountKey"):
        endpoint(StorageSettings(connection_string="AccountName=account"), "table", None)
