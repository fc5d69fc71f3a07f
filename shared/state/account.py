"""The configured storage account: where its services are, and who signs in to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from azure.core.utils import parse_connection_string

from ..config import StorageSettings
from .azure_table import TABLE_STORAGE, AzureTable
from .clock import StorageClock
from .service import Endpoint, StorageService
from .signing import (
    Authorization,
    EntraToken,
    SharedAccessSignature,
    SharedKey,
    SignIn,
    queue_text,
    table_text,
)
from .table import Table

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

DEVELOPMENT_STORAGE = "UseDevelopmentStorage=true"
"""The storage emulator on its default ports, as the Functions host accepts it."""

_EMULATOR = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
    "QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"
)
"""https://learn.microsoft.com/azure/storage/common/storage-use-azurite; the key is public."""

_TEXTS = {"table": table_text, "queue": queue_text}


def connection_string(storage: StorageSettings) -> str:
    """The connection string as the storage SDKs accept it; empty without one."""
    given = storage.connection_string
    return _EMULATOR if given == DEVELOPMENT_STORAGE else given


def endpoint(storage: StorageSettings, kind: str, sign_in: SignIn | None) -> Endpoint:
    """Where the service "table" or "queue" of the account is, and what authorizes requests to it.

    https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string

    Raises:
        ValueError: if the connection string is incomplete.
    """
    connection = connection_string(storage)
    if not connection:
        uris = {"table": storage.table_service_uri, "queue": storage.queue_service_uri}
        if sign_in is None:
            raise ValueError("An account without a connection string needs an identity.")
        return Endpoint(uris[kind], EntraToken(sign_in.bearer))
    parts = parse_connection_string(connection)
    protocol = parts.get("defaultendpointsprotocol", "https")
    suffix = parts.get("endpointsuffix", "core.windows.net")
    url = parts.get(f"{kind}endpoint") or (
        f"{protocol}://{parts.get('accountname')}.{kind}.{suffix}"
    )
    return Endpoint(url, _authorization(parts, kind))


def _authorization(parts: Mapping[str, str], kind: str) -> Authorization:
    if "accountname" in parts and "accountkey" in parts:
        return SharedKey(parts["accountname"], parts["accountkey"], _TEXTS[kind])
    if signature := parts.get("sharedaccesssignature"):
        return SharedAccessSignature(signature)
    raise ValueError("AzureWebJobsStorage has neither AccountKey nor SharedAccessSignature.")


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of the app."""

    state: Table
    audit: Table
    metrics: Table


def open_tables(storage: StorageSettings, sign_in: SignIn | None, clock: StorageClock) -> Tables:
    """Open the configured tables; ``sign_in`` is needed where there is no connection string."""
    place = endpoint(storage, "table", sign_in)
    service = StorageService(TABLE_STORAGE, place, clock.observe)
    state, audit, metrics = (
        AzureTable(name, partial(_client, storage, sign_in, name), service, clock)
        for name in (storage.state_table, storage.audit_table, storage.metrics_table)
    )
    return Tables(state, audit, metrics)


def _client(storage: StorageSettings, sign_in: SignIn | None, table: str) -> TableClient:
    from azure.data.tables.aio import TableClient

    if connection := connection_string(storage):
        return TableClient.from_connection_string(connection, table)
    tokens = sign_in and sign_in.tokens
    return TableClient(storage.table_service_uri, table, credential=tokens)
