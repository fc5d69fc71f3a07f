"""Opens the tables of the configured storage account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from azure.data.tables.aio import TableClient

from ..config import StorageSettings
from .azure_table import AzureTable
from .clock import StorageClock
from .table import Table

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

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


def connection_string(storage: StorageSettings) -> str:
    """The connection string as the storage SDKs accept it; empty without one."""
    given = storage.connection_string
    return _EMULATOR if given == DEVELOPMENT_STORAGE else given


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of the app."""

    state: Table
    audit: Table
    metrics: Table


def open_tables(
    storage: StorageSettings, identity: AsyncTokenCredential | None, clock: StorageClock
) -> Tables:
    """Open the configured tables; ``identity`` signs in where there is no connection string."""
    connection, uri = connection_string(storage), storage.table_service_uri
    state, audit, metrics = (
        TableClient.from_connection_string(connection, name)
        if connection
        else TableClient(uri, name, credential=identity)
        for name in (storage.state_table, storage.audit_table, storage.metrics_table)
    )
    return Tables(*(AzureTable(client, clock) for client in (state, audit, metrics)))
