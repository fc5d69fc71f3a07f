"""The client library: messages and threads on the Azure AI Foundry Agent Service."""

from ..config import FoundryAgentServiceConfig
from .client import FoundryAgentServiceClient
from .errors import (
    AuthenticationError,
    ConfigurationError,
    ContentFilteredError,
    FoundryError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServiceUnavailableError,
    ThreadBusyError,
    TimeoutError,
)
from .models import FoundryResponse, Message, MessagePage, ThreadInfo

__all__ = [
    "AuthenticationError",
    "ConfigurationError",
    "ContentFilteredError",
    "FoundryAgentServiceClient",
    "FoundryAgentServiceConfig",
    "FoundryError",
    "FoundryResponse",
    "InvalidRequestError",
    "Message",
    "MessagePage",
    "NotFoundError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitedError",
    "ServiceUnavailableError",
    "ThreadBusyError",
    "ThreadInfo",
    "TimeoutError",
]
