"""Opens the queues of a trigger's `connection`, named as the Functions host names them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from azure.storage.queue.aio import QueueServiceClient

from local.azurite import StoragePorts, connection_string, is_development_storage
from local.host.settings import HostConfigurationError

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential


# Three attempts within about three seconds. The SDK's default is a minute, in which a listener
# could neither report that storage is unreachable nor stop.
_RETRY: dict[str, Any] = {
    "initial_backoff": 1,
    "increment_base": 1,
    "random_jitter_range": 0,
    "retry_total": 2,
}


class QueueAccounts:
    """One service client for each `connection` that the app's triggers use."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._clients: dict[str, QueueServiceClient] = {}
        self._credentials: list[AsyncTokenCredential] = []

    def service(self, connection: str) -> QueueServiceClient:
        """Return the client for a connection name, such as `AzureWebJobsStorage`.

        The setting is a connection string, or identity-based settings `NAME__...`.
        """
        if connection not in self._clients:
            self._clients[connection] = self._open(connection)
        return self._clients[connection]

    async def aclose(self) -> None:
        """Close every client and credential."""
        for client in self._clients.values():
            await client.close()
        for credential in self._credentials:
            await credential.close()

    def _open(self, connection: str) -> QueueServiceClient:
        environment = self._environment
        # A connection may be named without its AzureWebJobs prefix.
        for name in (connection, f"AzureWebJobs{connection}"):
            if text := environment.get(name):
                return QueueServiceClient.from_connection_string(_expand(text), **_RETRY)
            if url := _queue_service_uri(name, environment):
                return QueueServiceClient(url, credential=self._credential(name), **_RETRY)
        raise HostConfigurationError(
            f"the connection {connection} of a queue trigger is not set: put a connection string "
            f"into {connection} or an address into {connection}__queueServiceUri."
        )

    def _credential(self, name: str) -> "AsyncTokenCredential":
        # Imported here because it is slow and only identity-based connections need it.
        from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

        client_id = self._environment.get(f"{name}__clientId")
        if self._environment.get(f"{name}__credential", "").lower() == "managedidentity":
            credential: AsyncTokenCredential = ManagedIdentityCredential(client_id=client_id)
        else:
            credential = DefaultAzureCredential()
        self._credentials.append(credential)
        return credential


def _expand(text: str) -> str:
    return connection_string(StoragePorts()) if is_development_storage(text) else text


def _queue_service_uri(name: str, environment: Mapping[str, str]) -> str | None:
    if url := environment.get(f"{name}__queueServiceUri"):
        return url
    account = environment.get(f"{name}__accountName")
    return f"https://{account}.queue.core.windows.net" if account else None
