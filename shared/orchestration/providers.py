"""Creates the backends of the models that the settings configure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from ..config import FoundryAgentServiceConfig, IdentitySettings, ModelSettings
from ..config.endpoint import split_url
from ..foundry.error_bodies import Peer
from ..foundry.errors import ConfigurationError
from ..foundry.transport import Transport
from ..identity.credentials import ApiKeyCredential, Credential, EntraCredential
from ..identity.resolution import token_credential
from .backends import Backend
from .chat_backend import ChatBackend, ChatModel
from .model_types import ModelType

AZURE_ML_SCOPE = "https://ml.azure.com/.default"
"""https://learn.microsoft.com/azure/machine-learning/how-to-authenticate-online-endpoint"""

AZURE_OPENAI_SCOPE = "https://cognitiveservices.azure.com/.default"
"""https://learn.microsoft.com/azure/ai-foundry/openai/how-to/managed-identity"""


class BearerKey:
    """A key sent as `Authorization: Bearer`, as OpenAI expects it; without a key, no header."""

    def __init__(self, key: str) -> None:
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def headers(self, claims: str | None = None) -> dict[str, str]:
        """The `Authorization` header, if there is a key."""
        return self._headers

    async def aclose(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True, slots=True)
class ChatServers:
    """Creates the backends of all configured chat-completions servers."""

    models: ModelSettings
    foundry: FoundryAgentServiceConfig
    """Its timeout, retries and pool size apply to all models."""
    identity: IdentitySettings
    http: httpx.AsyncBaseTransport | None = None
    """The HTTP transport, for tests."""

    def backends(self) -> Iterator[Backend]:
        """Create a backend for each configured server.

        Raises:
            ConfigurationError: naming a setting that cannot work.
        """
        settings = self.models
        if settings.vllm_server_url:
            yield self._vllm()
        if settings.azure_ml_endpoint:
            yield self._azure_ml()
        if settings.azure_openai_endpoint:
            yield self._azure_openai()
        if settings.openai_api_key:
            yield self._openai()

    def _vllm(self) -> Backend:
        setting, settings = "VLLM_SERVER_URL", self.models
        key = settings.vllm_api_key
        model = ChatModel(
            ModelType.VLLM,
            _peer("vLLM", setting, "VLLM_API_KEY", "VLLM_MODEL"),
            _base_url(setting, settings.vllm_server_url, with_credentials=bool(key)),
            settings.vllm_model,
            settings.vllm_context_tokens,
        )
        return self._backend(model, BearerKey(key))

    def _azure_ml(self) -> Backend:
        setting, settings = "AZURE_ML_ENDPOINT", self.models
        model = ChatModel(
            ModelType.AZURE_ML,
            _peer("Azure ML", setting, "AZURE_ML_KEY", "AZURE_ML_MODEL"),
            _base_url(setting, settings.azure_ml_endpoint.removesuffix("/score")),
            settings.azure_ml_model,
            settings.azure_ml_context_tokens,
        )
        key = settings.azure_ml_key
        return self._backend(
            model, BearerKey(key) if key else self._entra(AZURE_ML_SCOPE, "AZURE_ML_KEY")
        )

    def _azure_openai(self) -> Backend:
        setting, settings = "AZURE_OPENAI_ENDPOINT", self.models
        if not settings.azure_openai_deployment:
            raise ConfigurationError(
                "AZURE_OPENAI_ENDPOINT is set without a model: set AZURE_OPENAI_DEPLOYMENT."
            )
        url = settings.azure_openai_endpoint.rstrip("/").removesuffix("/openai/v1")
        model = ChatModel(
            ModelType.AZURE_OPENAI,
            _peer("Azure OpenAI", setting, "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_DEPLOYMENT"),
            _base_url(setting, f"{url}/openai/v1"),
            settings.azure_openai_deployment,
            settings.azure_openai_context_tokens,
            limit_field="max_completion_tokens",
        )
        key = settings.azure_openai_api_key
        entra = "AZURE_OPENAI_API_KEY"
        return self._backend(
            model, ApiKeyCredential(key) if key else self._entra(AZURE_OPENAI_SCOPE, entra)
        )

    def _openai(self) -> Backend:
        setting, settings = "OPENAI_BASE_URL", self.models
        model = ChatModel(
            ModelType.OPENAI,
            _peer("OpenAI", setting, "OPENAI_API_KEY", "OPENAI_MODEL"),
            _base_url(setting, settings.openai_base_url),
            settings.openai_model,
            settings.openai_context_tokens,
            limit_field="max_completion_tokens",
        )
        return self._backend(model, BearerKey(settings.openai_api_key))

    def _backend(self, model: ChatModel, credential: Credential) -> Backend:
        transport = Transport(
            credential,
            pool_size=self.foundry.pool_size,
            url=model.base_url,
            http=self.http,
            peer=model.peer,
        )
        return ChatBackend(
            model,
            transport,
            max_tokens=self.foundry.max_tokens,
            max_retries=self.foundry.max_retries,
            silence=self.foundry.timeout,
        )

    def _entra(self, scope: str, key_setting: str) -> Credential:
        tokens = token_credential(self.identity)
        if tokens is None:
            raise ConfigurationError(
                f"{key_setting} is not set and there is no Entra identity: set it, assign a "
                "managed identity (in Azure), or sign in with 'az login' (on your machine)."
            )
        return EntraCredential(tokens, scope)


def _peer(name: str, endpoint_setting: str, key_setting: str, model_setting: str) -> Peer:
    return Peer(
        name=name,
        endpoint_setting=endpoint_setting,
        sign_in=f"Check {key_setting}, or the identity that is used where it is empty.",
        access=f"Give the key or identity access to {name}.",
        missing=f"Check {endpoint_setting} and {model_setting}.",
    )


def _base_url(setting: str, url: str, *, with_credentials: bool = True) -> str:
    """The URL to which `/chat/completions` is added, from any accepted form of a setting."""
    try:
        parts = split_url(url, with_credentials=with_credentials)
    except ValueError as error:
        raise ConfigurationError(f"{setting} cannot be used: {error}.") from None
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"
