"""Errors of the emulator and their form on the wire.

`ApiError` is Foundry's own form: `{"error": {"code", "message", "param", "type", "details",
"additionalInfo": {"request_id"}}}`. `GatewayError` is the form of the API Management gateway in
front of it, which has no `error` object: `{"statusCode", "message"}`.
"""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

JsonObject = dict[str, Any]

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """A request the service refuses, with its HTTP status and machine-readable code."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.extra: JsonObject = {}
        """Further fields of the error object."""

    def response(self, request_id: str) -> JSONResponse:
        """Build the HTTP answer."""
        fallback = "server_error" if self.status >= 500 else "invalid_request_error"
        error: JsonObject = {
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "type": _TYPES.get(self.status, fallback),
            "details": [],
            "additionalInfo": {"request_id": request_id},
            **self.extra,
        }
        return JSONResponse({"error": error}, self.status)


class GatewayError(Exception):
    """A request refused before it reaches the service."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def response(self, _request_id: str) -> JSONResponse:
        """Build the HTTP answer."""
        return JSONResponse({"statusCode": self.status, "message": self.message}, self.status)


def invalid(message: str, param: str | None, code: str = "invalid_payload") -> ApiError:
    """The body or query is invalid at `param`."""
    return ApiError(400, code, message, param)


def not_found(what: str, identifier: str, param: str | None = None) -> ApiError:
    """The object does not exist, or belongs to another user."""
    return ApiError(404, "not_found", f"{what} with id '{identifier}' not found.", param)


def deployment_not_found(name: str) -> ApiError:
    """No deployment has this name."""
    message = f"The API deployment '{name}' for this resource does not exist."
    return ApiError(404, "DeploymentNotFound", message, "model")


def conversation_locked(conversation_id: str) -> ApiError:
    """Another response on the conversation is in progress."""
    message = (
        f"Another process is currently operating on conversation '{conversation_id}'. "
        "Please retry in a few seconds."
    )
    return ApiError(409, "conversation_locked", message, "conversation")


def content_filtered() -> ApiError:
    """A content filter blocks the input; in the format that Azure OpenAI documents."""
    safe = {"filtered": False, "severity": "safe"}
    result: Mapping[str, JsonObject] = {
        "hate": safe,
        "self_harm": safe,
        "sexual": safe,
        "violence": {"filtered": True, "severity": "high"},
        "jailbreak": {"detected": False, "filtered": False},
    }
    message = "The response was filtered due to the prompt triggering the content policy."
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result}
    error = ApiError(400, "content_filter", message, "prompt")
    error.extra = {"status": 400, "innererror": inner}
    return error
