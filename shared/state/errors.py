"""What can go wrong between us and Table Storage.

StateError
├── RowExistsError           an insert found its row already there
├── RowChangedError          a conditional write found another version of the row
├── RowMissingError          a row to change or read is not there
├── ConditionTooLongError    rows were asked for by more text than a query can carry
├── DocumentTooLargeError    a document does not fit into a row
├── MetadataFullError        a thread would have more metadata than it may
├── JobEndedError            a job has ended already
├── KeyInUseError            the request with an idempotency key still runs (`retry_after`)
├── KeyMismatchError         an idempotency key was used for another request
├── LaneBusyError            a turn runs on the lane, or jobs wait on it (`retry_after`)
├── LeaseLostError           our lease ran out and another holder took over
└── StorageUnavailableError  the service cannot be reached, refuses us, or is overloaded
    └── StorageContentionError   too many write one row at once (`retry_after`)
"""

from __future__ import annotations

from math import ceil
from typing import ClassVar

CONTENTION_RETRY_SECONDS = 2.0
"""Several rounds of a write (`contention`)."""


class StateError(Exception):
    """The root of all errors of this package."""

    code: ClassVar[str] = "internal_error"
    """What callers, job records and the audit trail call it."""


class RowExistsError(StateError):
    """An insert found its row already there."""


class RowChangedError(StateError):
    """A conditional write found another version of the row than it expected."""


class RowMissingError(StateError):
    """A row to change or read is not there."""

    code = "not_found"


class ConditionTooLongError(StateError):
    """Rows were asked for by more text than a query can carry."""

    code = "invalid_request"

    def __init__(self) -> None:
        super().__init__("The texts to look for are too long together; ask for less of them.")


class DocumentTooLargeError(StateError):
    """A document does not fit into a row."""

    code = "too_large"

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"{size} bytes are too many; at most {most} can be kept.")


class MetadataFullError(StateError):
    """A thread would have more metadata than it may."""

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
        super().__init__("The request with this Idempotency-Key is still being worked on.")
        self.retry_after = retry_after
        """Seconds after which to look again."""


class KeyMismatchError(StateError):
    """An idempotency key was used for another request."""

    code = "idempotency_mismatch"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used for another request; give each request a key of its own."
        )


class LaneBusyError(StateError):
    """A turn runs on the lane, or jobs wait on it."""

    code = "thread_busy"

    def __init__(self, retry_after: float, reason: str | None = None) -> None:
        running = (
            "Another turn runs on this thread. It has the thread for the next "
            f"{ceil(retry_after)} s, and for longer if it takes longer."
        )
        super().__init__(reason or running)
        self.retry_after = retry_after
        """Seconds until the lease ends, or until the job that waits may run."""


class LeaseLostError(StateError):
    """Our lease ran out and another holder took over; nothing was written."""

    code = "lease_lost"


class StorageUnavailableError(StateError):
    """The storage service cannot be reached, refuses us, or is overloaded."""

    code = "storage_unavailable"


class StorageContentionError(StorageUnavailableError):
    """Others changed a row again and again while we tried to; nothing was written."""

    code = "storage_contention"

    def __init__(self, subject: str) -> None:
        super().__init__(f"Too many requests change {subject} at once; send fewer, and try again.")
        self.retry_after = CONTENTION_RETRY_SECONDS
        """Seconds after which to try again."""
