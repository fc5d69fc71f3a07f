"""Settings of storage, and of how long records are kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import Env, Settings
from .rules import rule, secure_url, storage_account, table_name


class StorageSettings(Settings):
    """The storage account: Table Storage for records, Queue Storage for jobs."""

    connection_string: Annotated[
        str, rule(storage_account), Env("AzureWebJobsStorage", "UseDevelopmentStorage=true")
    ] = Field(default="", repr=False)
    """Connection string of the storage account; local development only."""

    table_service_uri: Annotated[
        str, rule(secure_url), Env("AzureWebJobsStorage__tableServiceUri")
    ] = ""
    """Table endpoint of the storage account, reached with the managed identity."""

    queue_service_uri: Annotated[
        str, rule(secure_url), Env("AzureWebJobsStorage__queueServiceUri")
    ] = ""
    """Queue endpoint of the storage account, reached with the managed identity."""

    state_table: Annotated[str, rule(table_name), Env("STATE_TABLE_NAME", "aosfoundry")] = (
        "aosfoundry"
    )
    """Table of threads, turns and jobs."""

    audit_table: Annotated[str, rule(table_name), Env("AUDIT_TABLE_NAME", "aosaudit")] = "aosaudit"
    """Table of the audit trail."""

    metrics_table: Annotated[str, rule(table_name), Env("METRICS_TABLE_NAME", "aosmetrics")] = (
        "aosmetrics"
    )
    """Table of metrics, usage and budgets."""

    lease_seconds: Annotated[float, Env("LEASE_SECONDS", "60")] = Field(default=60, ge=2, le=300)
    """Seconds after which a turn or a deletion whose worker died may be taken over by another. A
    turn that runs renews its lease three times as often. Shorter values take over sooner and cost
    more writes; never shorter than Foundry may take to store a message that it received."""

    record_content: Annotated[bool, Env("RECORD_CONTENT", "true")] = True
    """Keep the text of questions, answers and errors. Off: only metrics and ids are kept, the
    replay of an Idempotency-Key and the result of a job have no text, and a conversation that moves
    to another model begins there without its history. See docs/privacy.md."""

    def problems(self) -> list[str]:
        """See `Settings.problems`; a missing account is reported where it is needed."""
        uris = {
            "AzureWebJobsStorage__tableServiceUri": self.table_service_uri,
            "AzureWebJobsStorage__queueServiceUri": self.queue_service_uri,
        }
        missing = [setting for setting, uri in uris.items() if not uri]
        if self.connection_string or len(missing) != 1:
            return []
        return [f"{missing[0]} is not set, but the other service of the account is: set both"]


class RetentionSettings(Settings):
    """How long records are kept."""

    turn_days: Annotated[int, Env("RETAIN_TURNS_DAYS", "90")] = Field(default=90, ge=0)
    """Days that turn rows are kept; 0 keeps them for good."""

    job_days: Annotated[int, Env("RETAIN_JOBS_DAYS", "30")] = Field(default=30, ge=0)
    """Days that a job is kept after it has ended; 0 keeps jobs for good."""

    delivery_days: Annotated[int, Env("RETAIN_DELIVERIES_DAYS", "7")] = Field(default=7, ge=0)
    """Days that the record of a callback or reply is kept after its job has ended; 0 keeps it for
    good."""

    audit_days: Annotated[int, Env("RETAIN_AUDIT_DAYS", "365")] = Field(default=365, ge=0, le=3650)
    """Days that audit records are kept; 0 keeps them for good."""

    metrics_days: Annotated[int, Env("RETAIN_METRICS_DAYS", "14")] = Field(
        default=14, ge=0, le=3650
    )
    """Days that metrics are kept by minute and by hour; 0 keeps them forever. Those by day are
    always kept."""
