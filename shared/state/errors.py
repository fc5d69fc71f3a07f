"""The errors of this package.

StateError
├── RowExistsError           the row of an insert exists already
├── RowChangedError          a conditional write found another version of the row
├── RowMissingError          a row to change or read does not exist
├── ConditionTooLongError    the filter of a query is too long
├── DocumentTooLargeError    a document does not fit into a row
├── MetadataFullError        a thread would have too many metadata pairs
├── JobEndedError            a job has ended already
├── KeyInUseError            the request with an idempotency key still runs (`retry_after`)
├── KeyMismatchError         an idempotency key was used for another request
├── LaneBusyError            a turn runs on the lane, or jobs wait on it (`retry_after`)
├── LeaseLostError           our lease expired and another holder took over
└── StorageUnavailableError  the service cannot be reached, refuses us, or is overloaded
    └── StorageContentionError   too many writers change one row at once (`retry_after`)
"""

from __future__ import annotations

from math import ceil
from typing import ClassVar

CONTENTION_RETRY_SECONDS = 2.0
"""Long enough for several rounds of a write (`contention`)."""


class StateError(Exception):
    """The root of all errors of this package."""

    code: ClassVar[str] = "internal_error"
    """The code in problem documents, job records and the audit trail."""


class RowExistsError(StateError):
    """The row of an insert exists already."""


class RowChangedError(StateError):
    """A conditional write found another version of the row than it expected."""


class RowMissingError(StateError):
    """A row to change or read does not exist."""

    code = "not_found"


class ConditionTooLongError(StateError):
    """The filter of a query is too long."""

    code = "invalid_request"

    def __init__(self) -> None:
        super().__init__("The filters are too long in total; use fewer or shorter ones.")


class DocumentTooLargeError(StateError):
    """A document does not fit into a row."""

    code = "too_large"

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"{size} bytes are too many; at most {most} can be stored.")


class MetadataFullError(StateError):
    """A thread would have too many metadata pairs."""

    code = "metadata_full"

    def __init__(self, most: int) -> None:
        super().__init__(f"A thread has at most {most} metadata pairs; remove some first.")


class JobEndedError(StateError):
    """A job has ended already."""

    code = "job_ended"

    def __init__(self, status: str) -> None:
        super().__init__(f"The job has ended already; it is {status}.")


class KeyInUseError(StateError):
    """The request with an idempotency key still runs."""

    code = "idempotency_in_progress"

    def __init__(self, retry_after: float) -> None:
        super().__init__("The request with this Idempotency-Key is still running.")
        self.retry_after = retry_after
        """Seconds after which to repeat the request."""


class KeyMismatchError(StateError):
    """An idempotency key was used for another request."""

    code = "idempotency_mismatch"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used for another request; use a new key for each request."
        )


class LaneBusyError(StateError):
    """A turn runs on the lane, or jobs wait on it."""

    code = "thread_busy"

    def __init__(self, retry_after: float, reason: str | None = None) -> None:
        running = (
            "Another turn runs on this thread. Its lease lasts for another "
            f"{ceil(retry_after)} s and is renewed if the turn takes longer."
        )
        super().__init__(reason or running)
        self.retry_after = retry_after
        """Seconds until the lease ends, or until the waiting job may run."""


class LeaseLostError(StateError):
    """Our lease expired and another holder took over; nothing was written."""

    code = "lease_lost"


class StorageUnavailableError(StateError):
    """The storage service cannot be reached, refuses us, or is overloaded."""

    code = "storage_unavailable"

    is_refusal: bool = False
    """The service answered that it did nothing, because it is asked for too much."""


class StorageContentionError(StorageUnavailableError):
    """Other writers changed the row before each of our attempts; nothing was written."""

    code = "storage_contention"

    def __init__(self, subject: str) -> None:
        super().__init__(f"Too many requests change {subject} at once; send fewer, and try again.")
        self.retry_after = CONTENTION_RETRY_SECONDS
        """Seconds after which to try again."""
