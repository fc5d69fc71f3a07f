"""How commands fail: exit codes, and errors with what the user can do about them.

CommandError
├── UsageError             exit 2
├── NotSignedInError       exit 3
├── NotFoundError          exit 4
├── TryAgainError          exit 75
├── InterruptedCommand     exit 130
└── OutputClosedError      exit 141
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Every exit code."""

    OK = 0, "the command did what it was asked to do"
    FAILED = 1, "the app refused the request, or it failed"
    USAGE = 2, "the command line, a file or the configuration is wrong; nothing was sent"
    NOT_SIGNED_IN = 3, "the app did not accept the key, or there is none"
    NOT_FOUND = 4, "there is no such thread, job, key or address"
    TRY_AGAIN = 75, "a temporary failure; the same command may work later"
    INTERRUPTED = 130, "interrupted with Ctrl-C"
    OUTPUT_CLOSED = 141, "the program that reads the output ended first"

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        """Make a code with its meaning."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code


class CommandError(Exception):
    """A command that did not do what it was asked to do."""

    exit_code = ExitCode.FAILED

    def __init__(
        self, detail: str, *, code: str = "", request_id: str = "", advice: str = ""
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        """The code of the app's problem document."""
        self.request_id = request_id
        self.advice = advice
        """What to do about it."""

    def __str__(self) -> str:
        origin = ", ".join(filter(None, (self.code, self.request_id)))
        return f"{self.detail} ({origin})" if origin else self.detail


class UsageError(CommandError):
    """The command line, a file or the configuration is wrong."""

    exit_code = ExitCode.USAGE


class NotSignedInError(CommandError):
    """The app did not accept the key, or there is none."""

    exit_code = ExitCode.NOT_SIGNED_IN


class NotFoundError(CommandError):
    """There is no such object or address."""

    exit_code = ExitCode.NOT_FOUND


class TryAgainError(CommandError):
    """A temporary failure."""

    exit_code = ExitCode.TRY_AGAIN

    def __init__(
        self,
        detail: str,
        *,
        code: str = "",
        request_id: str = "",
        advice: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail, code=code, request_id=request_id, advice=advice)
        self.retry_after = retry_after
        """Seconds to wait before trying again, if the app said so."""


class InterruptedCommand(CommandError):  # noqa: N818 - the user's wish is no error
    """The user pressed Ctrl-C."""

    exit_code = ExitCode.INTERRUPTED


class OutputClosedError(CommandError):
    """The program that reads the output ended."""

    exit_code = ExitCode.OUTPUT_CLOSED
