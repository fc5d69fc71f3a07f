"""Azurite, the Azure Storage emulator: its pinned npm package, and its connection string."""

from dataclasses import dataclass

# Azurite's well-known public account and key, as documented by Azure Storage.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass(frozen=True)
class StoragePorts:
    """Where the three services of Azurite listen; the defaults are its own."""

    blob: int = 10000
    queue: int = 10001
    table: int = 10002


def connection_string(ports: StoragePorts) -> str:
    """Return the connection string for the storage SDKs and AzureWebJobsStorage."""
    endpoints = "".join(
        f"{service.capitalize()}Endpoint=http://127.0.0.1:{port}/{ACCOUNT};"
        for service, port in vars(ports).items()
    )
    return (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};{endpoints}"
    )


def is_development_storage(text: str) -> bool:
    """Whether a connection string is the short form for Azurite on its default ports.

    The .NET SDK and Core Tools know the short form, the Python SDK does not.
    """
    return text.strip().rstrip(";").lower() == "usedevelopmentstorage=true"
