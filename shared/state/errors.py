"""What can go wrong between us and Table Storage.

StateError
├── RowExistsError           an insert found its row already there
├── RowChangedError          a conditional write found another version of the row
├── RowMissingError          a row to change or read is not there
├── DocumentTooLargeError    a document does not fit into a row
├── MetadataFullError        a thread would have more metadata than it may
├── JobEndedError            a job has ended already
├── KeyInUseError            the request with an idempotency key still runs (`retry_after`)
├── KeyMismatchError         an idempotency key was used for another request
├── LaneBusyError            somebody else holds the lane's lease (`retry_after`)
├── LeaseLostError           our lease ran out and somebody else took over
└── StorageUnavailableError  the service cannot be reached, refuses us, or is overloaded
    └── StorageContentionError   too many write one row at once (`retry_after`)
"""

from __future__ import annotations

CONTENTION_RETRY_SECONDS = 2.0
"""Several rounds of a write (`contention`)."""


class StateError(Exception):
    """The root of all errors of this package."""


class RowExistsError(StateError):
    """An insert found its row already there."""


class RowChangedError(StateError):
    """A conditional write found another version of the row than it expected."""


class RowMissingError(StateError):
    """A row to change or read is not there."""


class DocumentTooLargeError(StateError):
    """A document does not fit into a row."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"{size} bytes are too many; at most {most} can be kept.")


class MetadataFullError(StateError):
    """A thread would have more metadata than it may."""

    def __init__(self, most: int) -> None:
        super().__init__(f"A thread has at most {most} metadata pairs; remove some first.")


class JobEndedError(StateError):
    """A job has ended already."""

    def __init__(self, status: str) -> None:
        super().__init__(f"The job has ended already; it is {status}.")


class KeyInUseError(StateError):
    """The request with an idempotency key still runs."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("The request with this Idempotency-Key is still being worked on.")
        self.retry_after = retry_after
        """Seconds after which to look again."""


class KeyMismatchError(StateError):
    """An idempotency key was used for another request."""

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used for another request; give each request a key of its own."
        )


class LaneBusyError(StateError):
    """Somebody else holds the lane's lease."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"Another turn runs on this thread; it ends within {retry_after:.0f} s.")
        self.retry_after = retry_after
        """Seconds until the lease ends at the latest."""


class LeaseLostError(StateError):
    """Our lease ran out and somebody else took over; nothing was written."""


class StorageUnavailableError(StateError):
    """The storage service cannot be reached, refuses us, or is overloaded."""


class StorageContentionError(StorageUnavailableError):
    """Others changed a row again and again while we tried to; nothing was written."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"Too many requests change {subject} at once; send fewer, and try again.")
        self.retry_after = CONTENTION_RETRY_SECONDS
        """Seconds after which to try again."""
