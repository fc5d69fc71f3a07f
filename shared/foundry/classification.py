"""Decides which error a failure is, from its status, codes and types; nothing else does.

Services report the same failure at different places (an HTTP status, an answer that failed, an
event in a stream) and in different spellings (`RateLimitExceeded`, `rate_limit_exceeded`,
`too_many_requests`, `429`). Names are compared without case and punctuation. What is known by its
exact name is certain and wins over a status that says less; a family of names, such as all that
begin with `invalid`, is believed only where no status is.
https://platform.openai.com/docs/guides/error-codes,
https://learn.microsoft.com/azure/ai-foundry/openai/reference and, for vLLM and text generation
servers, the names that their sources hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import (
    AuthenticationError,
    ContentFilteredError,
    FoundryError,
    InvalidRequestError,
    ModelNotFoundError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitedError,
    ServiceUnavailableError,
    ThreadBusyError,
    TimeoutError,
    UnknownFailureError,
)
from .waits import MAX_PROSE_CHARS, plain

Kind = type[FoundryError]

_EXACT_NAMES: dict[Kind, str] = {
    ContentFilteredError: (
        "content_filter content_filtered content_filter_error content_policy_violation "
        "responsible_ai_policy_violation image_content_policy_violation bio_policy cyber_policy "
        "bio_policy_violation cyber_policy_violation misalignment_policy_violation "
        "moderation_blocked prompt_blocked safety_violation"
    ),
    ThreadBusyError: "conversation_locked thread_locked",
    QuotaExhaustedError: (
        "insufficient_quota billing_hard_limit_reached billing_not_active billing_error "
        "insufficient_balance insufficient_credits credit_balance_too_low payment_required"
    ),
    RateLimitedError: (
        "rate_limit rate_limited rate_limit_error rate_limit_exceeded rate_limit_reached "
        "too_many_requests too_many_requests_error request_rate_too_large request_limit_exceeded "
        "requests_limit_exceeded concurrency_limit_exceeded tokens_per_minute_exceeded "
        "requests_per_minute_exceeded quota_exceeded resource_exhausted throttled throttling "
        "throttling_error throttling_exception 429"
    ),
    AuthenticationError: (
        "invalid_api_key incorrect_api_key authentication_error authentication_failed "
        "invalid_authentication invalid_token expired_token token_expired unauthorized "
        "unauthenticated"
    ),
    PermissionDeniedError: (
        "permission_denied permission_error permission_denied_error access_denied forbidden "
        "authorization_failed insufficient_permissions preview_feature_required "
        "unsupported_country_region_territory"
    ),
    ModelNotFoundError: "model_not_found deployment_not_found",
    NotFoundError: "agent_not_found",
    InvalidRequestError: (
        "context_length_exceeded context_window_exceeded context_length_error max_tokens_exceeded "
        "token_limit_exceeded message_limit_exceeded content_size_exceeded tool_limit_exceeded "
        "file_size_exceeded string_above_max_length string_below_min_length array_above_max_length "
        "array_below_min_length integer_above_max_value integer_below_min_value "
        "decimal_above_max_value decimal_below_min_value invalid_prompt invalid_request "
        "invalid_request_error invalid_payload invalid_parameters invalid_parameter invalid_type "
        "invalid_value invalid_json invalid_image invalid_image_format invalid_image_url "
        "invalid_image_mode invalid_base64_image invalid_function_parameters invalid_tool_schema "
        "unsupported_parameter unsupported_value unsupported_image_media_type unknown_parameter "
        "missing_required_parameter image_too_large image_too_small image_parse_error "
        "image_file_too_large image_file_not_found empty_image_file failed_to_download_image "
        "tool_user_error user_error image_generation_user_error data_residency_mismatch "
        "conversation_fork_not_supported previous_response_not_found prompt_too_long "
        "request_too_large input_too_long bad_request bad_request_error validation_error "
        "unprocessable_entity unprocessable_entity_error"
    ),
    ServiceUnavailableError: (
        "server_error internal_server_error internal_error internal_failure internal api_error "
        "service_unavailable unavailable storage_error vector_store_timeout timeout timeout_error "
        "request_timeout gateway_timeout deadline_exceeded overloaded overloaded_error "
        "server_overloaded server_is_overloaded slow_down server_busy bad_gateway upstream_error "
        "connection_error no_capacity generation_error incomplete_generation model_error "
        "processing_error"
    ),
}

_EXACT = {plain(name): kind for kind, names in _EXACT_NAMES.items() for name in names.split()}


@dataclass(frozen=True, slots=True)
class _Family:
    """Names that are alike, by what they hold, begin or end with."""

    kind: Kind
    holds: str = ""
    begins: str = ""
    ends: str = ""

    def has(self, name: str) -> bool:
        return (
            any(part in name for part in self.holds.split())
            or name.startswith(tuple(self.begins.split()))
            or name.endswith(tuple(self.ends.split()))
        )


_CERTAIN = (_Family(RateLimitedError, "ratelimit toomanyrequest throttl perminute"),)
"""Families that no status contradicts."""

_FAMILIES = (
    _Family(ContentFilteredError, "contentfilter contentpolicy policyviolation"),
    _Family(QuotaExhaustedError, "insufficientquota", begins="billing"),
    _Family(AuthenticationError, "apikey", begins="authentication unauthor"),
    _Family(PermissionDeniedError, "permission"),
    _Family(
        ServiceUnavailableError,
        "servererror internalerror unavailable overload timeout timedout",
        ends="exhausted notready",
    ),
    _Family(
        InvalidRequestError,
        "toolarge toolong toosmall tooshort toomany abovemax belowmin contextlength contextwindow "
        "notallowed notsupported usererror",
        begins="invalid unsupported image missing malformed unknownparam badrequest validation "
        "string array integer decimal unprocessable",
        ends="limitexceeded sizeexceeded lengthexceeded maxlength minlength",
    ),
    _Family(NotFoundError, ends="notfound notfounderror doesnotexist"),
)

_RANKS = [*_EXACT_NAMES, UnknownFailureError]
"""If a failure has several names, the kind that comes first here is the most specific."""

_LOCKED_IN_PROSE = re.compile(r"conversation_locked|already has an active|is active", re.IGNORECASE)
_LIMIT_IN_PROSE = re.compile(
    r"rate limit (?:is |was |has been )?(?:exceeded|reached)|too many requests", re.IGNORECASE
)
_LENGTH_IN_PROSE = re.compile(r"maximum context length|context window", re.IGNORECASE)
_SPENT_IN_PROSE = re.compile(r"out of call volume quota", re.IGNORECASE)
"""API Management's refusal of a subscription that has used its calls up; it has no code."""


def kind_of(
    status: int | None, codes: Sequence[str], types: Sequence[str] = (), message: str = ""
) -> Kind:
    """The class of error for a failure.

    Args:
        status: The HTTP status of a refusal; None for a failure inside an answer with 200.
        codes: What it is called, from the outside in: `code`, `innererror.code`, ...
        types: What kind of error the service says it is, which is the vaguest.
        message: The service's own text; consulted last.
    """
    prose = message[:MAX_PROSE_CHARS]
    if status is None:
        return _inside_an_answer(codes, types, prose)
    certain = _first(_certain(codes))
    if status >= 500:
        return _of_server_error(certain, prose)
    return _of_refusal(status, certain, prose)


def _inside_an_answer(codes: Sequence[str], types: Sequence[str], prose: str) -> Kind:
    kind = (
        _first(_certain(codes))
        or _first(_likely(codes))
        or _by_number(codes)
        or _first(_certain(types))
        or _first(_likely(types))
    )
    if kind in {None, ServiceUnavailableError} and _LIMIT_IN_PROSE.search(prose):
        return RateLimitedError
    if kind is None and _LENGTH_IN_PROSE.search(prose):
        return InvalidRequestError
    return kind or UnknownFailureError


def _of_server_error(certain: Kind | None, prose: str) -> Kind:
    about_request = {
        ContentFilteredError,
        ThreadBusyError,
        QuotaExhaustedError,
        RateLimitedError,
        InvalidRequestError,
    }
    if certain in about_request:
        return certain
    return RateLimitedError if _LIMIT_IN_PROSE.search(prose) else ServiceUnavailableError


def _of_refusal(status: int, certain: Kind | None, prose: str) -> Kind:
    if status in {400, 409} and _LOCKED_IN_PROSE.search(prose):
        return ThreadBusyError
    if status == 403 and _SPENT_IN_PROSE.search(prose):
        return QuotaExhaustedError
    by_status = _BY_STATUS.get(status, InvalidRequestError)
    says_less = {None, InvalidRequestError, ServiceUnavailableError}
    if certain in says_less and not (status == 429 and certain is InvalidRequestError):
        return by_status
    return certain or by_status


_BY_STATUS: dict[int, Kind] = {
    401: AuthenticationError,
    402: QuotaExhaustedError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: TimeoutError,
    425: ServiceUnavailableError,
    429: RateLimitedError,
    499: ServiceUnavailableError,
}
"""Of the statuses below 500; any other is a mistake in the request."""


def _by_number(codes: Iterable[str]) -> Kind | None:
    """What a code says that is an HTTP status."""
    for code in codes:
        if len(code) == 3 and code.isdecimal() and int(code) >= 400:
            status = int(code)
            if status >= 500 or status == 408:
                return ServiceUnavailableError
            return _BY_STATUS.get(status, InvalidRequestError)
    return None


def _certain(names: Iterable[str]) -> Iterable[Kind]:
    for name in map(plain, names):
        if kind := _EXACT.get(name):
            yield kind
        else:
            yield from (family.kind for family in _CERTAIN if family.has(name))


def _likely(names: Iterable[str]) -> Iterable[Kind]:
    for name in map(plain, names):
        yield from (family.kind for family in _FAMILIES if family.has(name))


def _first(kinds: Iterable[Kind]) -> Kind | None:
    """The most specific of several kinds."""
    return min(kinds, key=_RANKS.index, default=None)
