"""The spans of calls to Foundry, under the names of the GenAI conventions.

The `invoke_agent` span of a turn contains a `chat` span for each attempt at a response, and an
`execute_tool` span for each call of a custom tool.
"""

from __future__ import annotations

from functools import lru_cache

import httpx
from opentelemetry.trace import Span, SpanKind

from ..observability.tracing import (
    FINISH_REASONS,
    MAX_TOKENS,
    METHOD,
    OPERATION_NAME,
    PROVIDER,
    PROVIDER_NAME,
    REQUEST_MODEL,
    RESEND_COUNT,
    RESPONSE_ID,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
    SERVICE_REQUEST_ID,
    STATUS_CODE,
    STREAM,
    TEMPERATURE,
    TOP_P,
    UNTRACED,
    URL_PATH,
    Attributes,
    agent_ids,
    entered,
    is_traced,
    span,
    usage_attributes,
)
from .errors import FoundryError
from .responses import parse_usage
from .wire_json import JsonObject, object_at, text_at

_ASKED = {
    "model": REQUEST_MODEL,
    "max_output_tokens": MAX_TOKENS,
    "temperature": TEMPERATURE,
    "top_p": TOP_P,
    "stream": STREAM,
}
"""Fields of a request's body that a span records."""


def attempt(url: str, body: JsonObject, resends: int) -> entered:
    """The span of one request for a response."""
    if not is_traced():
        return UNTRACED
    attributes: dict[str, str | bool | int | float | list[str]] = {
        OPERATION_NAME: "chat",
        PROVIDER_NAME: PROVIDER,
        **_server(url),
        **{_ASKED[name]: body[name] for name in _ASKED if name in body},
        **agent_ids(_agent(body)),
    }
    if resends:
        attributes[RESEND_COUNT] = resends
    model = text_at(body, "model")
    name = f"chat {model}" if model else "chat"
    return span(name, attributes, SpanKind.CLIENT, current=False)


def call(method: str, url: str) -> entered:
    """The span of any other call: conversations, agents, deployments."""
    if not is_traced():
        return UNTRACED
    attributes = {METHOD: method, URL_PATH: httpx.URL(url).path, **_server(url)}
    return span(method, attributes, SpanKind.CLIENT)


def record_response(attempted: Span, response: JsonObject, request_id: str | None) -> None:
    """Record the response of an attempt."""
    if not attempted.is_recording():
        return
    attributes: dict[str, str | int | list[str]] = dict(
        usage_attributes(parse_usage(object_at(response, "usage")))
    )
    if response_id := text_at(response, "id"):
        attributes[RESPONSE_ID] = response_id
    if model := text_at(response, "model"):
        attributes[RESPONSE_MODEL] = model
    if request_id:
        attributes[SERVICE_REQUEST_ID] = request_id
    reason = text_at(object_at(response, "incomplete_details"), "reason") or "stop"
    attributes[FINISH_REASONS] = ["length" if reason == "max_output_tokens" else reason]
    attempted.set_attributes(attributes)


def record_failure(attempted: Span, error: FoundryError) -> None:
    """Record why an attempt failed, in addition to what every failed span records."""
    if error.status_code:
        attempted.set_attribute(STATUS_CODE, error.status_code)
    if error.request_id:
        attempted.set_attribute(SERVICE_REQUEST_ID, error.request_id)


def _agent(body: JsonObject) -> str:
    reference = object_at(body, "agent_reference")
    name, version = text_at(reference, "name") or "", text_at(reference, "version")
    return f"{name}:{version}" if version else name


@lru_cache(maxsize=16)
def _server(url: str) -> Attributes:
    parsed = httpx.URL(url)
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    return {SERVER_ADDRESS: parsed.host, SERVER_PORT: port}
