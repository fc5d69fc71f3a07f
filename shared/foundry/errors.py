"""What can go wrong between us and Foundry.

FoundryError
├── ConfigurationError          a setting is missing or cannot work (also a ValueError)
├── AuthenticationError         the credential was refused, or none could be obtained
├── PermissionDeniedError       the identity lacks a role, or the network is closed
├── NotFoundError               agent, deployment, conversation or response is not there
│   └── ModelNotFoundError      it is the deployment
├── InvalidRequestError         the request cannot succeed as it is
│   ├── ContentFilteredError    a content filter stopped the question or the answer
│   └── UnknownCallError        it answers a call that is not open on the thread
├── ThreadBusyError             another turn holds the thread
├── RateLimitedError            the deployment's quota is used up (`retry_after`)
├── TimeoutError                no answer within the deadline (also the builtin TimeoutError)
├── ServiceUnavailableError     Foundry cannot be reached, or failed inside
│   ├── QuotaExhaustedError     the account has no credit or quota left; waiting does not help
│   ├── StreamInterruptedError  a stream broke off; carries what had arrived
│   └── UnknownFailureError     it failed for a reason that is not known
└── ProtocolError               the answer was not one that the protocol allows

Each class has a `treatment`, which says what the failure means for the client, a circuit breaker, a
router and a job. Nothing else decides on repetition.

    treatment     client repeats  job repeats   breaker counts  another model may answer
    MISTAKE       never           never         no              no
    SETUP         never           never         no              no
    BUSY          as settings say as it says    no              no
    RATE_LIMIT    as settings say as it says    no              yes
    OUTAGE        as settings say as it says    yes             yes
    INTERRUPTED   never           as it says    yes             no
    SPENT         never           never         yes             yes
    UNREADABLE    never           once          yes             yes
    UNKNOWN       once            never         yes             yes
"""

from __future__ import annotations

import builtins
import sys
from dataclasses import dataclass

__all__ = [
    "BUSY",
    "INTERRUPTED",
    "MISTAKE",
    "OUTAGE",
    "RATE_LIMIT",
    "SETUP",
    "SPENT",
    "UNKNOWN",
    "UNREADABLE",
    "AuthenticationError",
    "ConfigurationError",
    "ContentFilteredError",
    "FoundryError",
    "InvalidRequestError",
    "ModelNotFoundError",
    "NotFoundError",
    "PermissionDeniedError",
    "ProtocolError",
    "QuotaExhaustedError",
    "RateLimitedError",
    "ServiceUnavailableError",
    "StreamInterruptedError",
    "ThreadBusyError",
    "TimeoutError",
    "Treatment",
    "UnknownCallError",
    "UnknownFailureError",
]


AS_ALLOWED = sys.maxsize
"""As often as settings, or the job, allow."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """One row of the table."""

    name: str
    repeats: int = 0
    """How often the client may send the request again, at most."""
    job_repeats: int = 0
    """How often a job may try its message again, at most."""
    counts: bool = False
    """A breaker counts it: it says that the service does not work."""
    moves: bool = False
    """Another model may answer in its place."""


MISTAKE = Treatment("mistake")
"""The request cannot succeed as it is; no other request is affected."""

SETUP = Treatment("setup")
"""A setting, role, key or name is wrong: only an operator can help."""

BUSY = Treatment("busy", repeats=AS_ALLOWED, job_repeats=AS_ALLOWED)
"""Another turn holds the conversation; the service works."""

RATE_LIMIT = Treatment("rate_limit", repeats=AS_ALLOWED, job_repeats=AS_ALLOWED, moves=True)
"""The deployment's gate is paused for all requests; the service works, so no breaker counts it."""

OUTAGE = Treatment("outage", repeats=AS_ALLOWED, job_repeats=AS_ALLOWED, counts=True, moves=True)
"""The service failed or cannot be reached, which may pass."""

INTERRUPTED = Treatment("interrupted", job_repeats=AS_ALLOWED, counts=True)
"""An outage after a part of the answer was delivered: nothing may follow that part."""

SPENT = Treatment("spent", counts=True, moves=True)
"""The account has no credit left: waiting does not help, but another model may answer."""

UNREADABLE = Treatment("unreadable", job_repeats=1, counts=True, moves=True)
"""What came is no answer, such as a proxy's page: the model may have run, so it is not asked again
at once."""

UNKNOWN = Treatment("unknown", repeats=1, counts=True, moves=True)
"""The service gives no reason that is known: an outage once, then final."""


class FoundryError(Exception):
    """The root of all errors of this package; its text says what to do."""

    code = "foundry_error"
    """Stable, machine-readable name of the problem."""

    treatment = SETUP
    """What the failure means for everything that could try again."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        may_have_run: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.status_code = status_code
        """HTTP status of Foundry's answer; None where there was none."""
        self.request_id = request_id
        """Foundry's id of the call; Microsoft's support asks for it."""
        self.retry_after = retry_after
        """Seconds to wait before trying again, where Foundry said so."""
        self.may_have_run = may_have_run
        """The call may have taken effect although no answer arrived."""
        self.answer_may_come = may_have_run
        """An answer may still be in the making; not so where the service said it failed."""


class ConfigurationError(FoundryError, ValueError):
    """A setting is missing or cannot work; the text names it and the fix."""

    code = "configuration_error"


class AuthenticationError(FoundryError):
    """The key or token was refused, or no token could be obtained."""

    code = "authentication_failed"


class PermissionDeniedError(FoundryError):
    """The identity is known but lacks a role, or the network is closed to it."""

    code = "permission_denied"


class NotFoundError(FoundryError):
    """The agent, deployment, conversation or response does not exist (any more)."""

    code = "not_found"


class ModelNotFoundError(NotFoundError):
    """There is no such deployment: of the name in the request, or of the one in the settings."""

    code = "model_not_found"


class InvalidRequestError(FoundryError):
    """Foundry refuses the request as it is; sending it again cannot help."""

    code = "invalid_request"
    treatment = MISTAKE


class ContentFilteredError(InvalidRequestError):
    """A content filter stopped the question or the answer."""

    code = "content_filter"


class UnknownCallError(InvalidRequestError):
    """An output or approval answers nothing that is open on the thread."""

    code = "unknown_call"

    def __init__(self, message: str, field: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        """Where it is in the request, as in `outputs.0`."""


class ThreadBusyError(FoundryError):
    """Another turn runs on the thread; try again when it is over."""

    code = "thread_busy"
    treatment = BUSY


class RateLimitedError(FoundryError):
    """The deployment's quota is used up for now."""

    code = "rate_limited"
    treatment = RATE_LIMIT


class TimeoutError(FoundryError, builtins.TimeoutError):  # noqa: A001 - named as its builtin twin
    """No complete answer came within the deadline."""

    code = "timeout"
    treatment = OUTAGE


class ServiceUnavailableError(FoundryError):
    """Foundry could not be reached, or failed inside."""

    code = "service_unavailable"
    treatment = OUTAGE


class QuotaExhaustedError(ServiceUnavailableError):
    """The account has no credit or quota left until its owner acts."""

    code = "quota_exhausted"
    treatment = SPENT


class UnknownFailureError(ServiceUnavailableError):
    """Foundry failed and gave no reason that is known."""

    treatment = UNKNOWN


class StreamInterruptedError(ServiceUnavailableError):
    """A stream broke off after part of the answer had been delivered."""

    code = "stream_interrupted"
    treatment = INTERRUPTED

    def __init__(
        self,
        message: str,
        *,
        request_id: str | None,
        received: str,
        response_id: str | None,
        sequence_number: int,
    ) -> None:
        super().__init__(message, request_id=request_id, may_have_run=True)
        self.received = received
        """The text that had arrived."""
        self.response_id = response_id
        self.sequence_number = sequence_number
        """Of the last event that arrived; a background response can be resumed after it."""


class ProtocolError(FoundryError):
    """The answer was not one that the protocol allows."""

    code = "protocol_error"
    treatment = UNREADABLE
