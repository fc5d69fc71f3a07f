"""Kinds of models, their order for each domain, and the settings of models beside Foundry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field

from .base import Env, Settings
from .endpoint import split_url
from .rules import rule

ANY_DOMAIN = "*"


class ModelType(StrEnum):
    """A kind of model; its value is its name in settings, results and HTTP bodies."""

    VLLM = "vllm"
    AZURE_ML = "azure_ml"
    OPENAI = "openai"
    AZURE_OPENAI = "azure_openai"
    AGENT_FRAMEWORK = "agent_framework"
    SEMANTIC_KERNEL = "semantic_kernel"
    LOCAL_MODEL = "local_model"
    FOUNDRY_AGENT_SERVICE = "foundry_agent_service"


DEFAULT_ORDER = (
    ModelType.FOUNDRY_AGENT_SERVICE,
    ModelType.VLLM,
    ModelType.AZURE_ML,
    ModelType.AZURE_OPENAI,
    ModelType.OPENAI,
)
"""The default order of preference."""

_USE_FOUNDRY = "use FOUNDRY_AGENT_SERVICE, where agents are kept and run by the service"

NOT_SERVED: dict[ModelType, str] = {
    ModelType.AGENT_FRAMEWORK: (
        f"Agent Framework models do not run here and no setting changes that: {_USE_FOUNDRY}."
    ),
    ModelType.SEMANTIC_KERNEL: (
        f"Semantic Kernel models do not run here and no setting changes that: {_USE_FOUNDRY}."
    ),
    ModelType.LOCAL_MODEL: (
        "Models do not run inside this process: serve the model with vLLM, llama.cpp or Ollama, "
        "set VLLM_SERVER_URL, and use VLLM."
    ),
}
"""Names from older code, which no setting configures: why, and what to use."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """The order of models for each domain."""

    by_domain: Mapping[str, tuple[ModelType, ...]] = field(
        default_factory=dict[str, tuple[ModelType, ...]]
    )

    def order(self, domain: str) -> tuple[ModelType, ...]:
        """The models for a domain, best first; letter case is ignored."""
        found = self.by_domain.get(domain.lower())
        return found or self.by_domain.get(ANY_DOMAIN) or DEFAULT_ORDER

    @classmethod
    def parse(cls, setting: str) -> Self:
        """Parse ``domain=type,type; domain=type``; `*` stands for all other domains.

        Raises:
            ValueError: saying which entry cannot be read.
        """
        by_domain: dict[str, tuple[ModelType, ...]] = {}
        entries = filter(None, (part.strip() for part in setting.split(";")))
        for position, entry in enumerate(entries, 1):
            domain, equals, listed = entry.partition("=")
            domain = domain.strip().lower()
            names = [name.strip().lower() for name in listed.split(",")]
            unknown = [name for name in names if name not in set(DEFAULT_ORDER)]
            if not equals or not domain or unknown:
                raise ValueError(
                    f"entry {position} cannot be read: write domain=model,model with ';' between "
                    f"domains; models are {', '.join(DEFAULT_ORDER)}"
                )
            if domain in by_domain:
                raise ValueError(f"entry {position} names a domain that an earlier one names")
            by_domain[domain] = tuple(ModelType(name) for name in names)
        return cls(by_domain)


class ModelSettings(Settings):
    """Models beside Foundry that `ModelOrchestrator` may ask, and in which order."""

    preferences: Annotated[
        str,
        rule(Preferences.parse),
        Env("MODEL_PREFERENCES", "sales=azure_ml,vllm; *=foundry_agent_service,vllm"),
    ] = ""
    """Which models answer, best first, by domain; `*` is any other. Empty: Foundry, then the rest
    in the order of this table. Where a model fails, the next one of its list answers."""

    vllm_server_url: Annotated[str, Env("VLLM_SERVER_URL", "http://vllm:8000")] = ""
    """vLLM or another server that speaks OpenAI chat completions."""

    vllm_api_key: Annotated[str, Env("VLLM_API_KEY")] = Field(default="", repr=False)
    """Key of that server, if it requires one."""

    vllm_model: Annotated[str, Env("VLLM_MODEL")] = ""
    """Model on that server. Empty: the first that it lists."""

    vllm_context_tokens: Annotated[int, Env("VLLM_CONTEXT_TOKENS", "8192")] = Field(
        default=8192, ge=512
    )
    """Context that the server was started with; older messages that do not fit are left out."""

    azure_ml_endpoint: Annotated[
        str, Env("AZURE_ML_ENDPOINT", "https://llama.westeurope.inference.ml.azure.com")
    ] = ""
    """Azure ML online endpoint of a model that speaks OpenAI chat completions."""

    azure_ml_key: Annotated[str, Env("AZURE_ML_KEY")] = Field(default="", repr=False)
    """Key of that endpoint. Empty: sign in with Microsoft Entra ID."""

    azure_ml_model: Annotated[str, Env("AZURE_ML_MODEL")] = ""
    """Model at that endpoint. Empty: the first that it lists."""

    azure_ml_context_tokens: Annotated[int, Env("AZURE_ML_CONTEXT_TOKENS", "8192")] = Field(
        default=8192, ge=512
    )
    """The same as `VLLM_CONTEXT_TOKENS`, for this model."""

    azure_openai_endpoint: Annotated[
        str, Env("AZURE_OPENAI_ENDPOINT", "https://acme.openai.azure.com")
    ] = ""
    """Azure OpenAI resource."""

    azure_openai_api_key: Annotated[str, Env("AZURE_OPENAI_API_KEY")] = Field(
        default="", repr=False
    )
    """Key of that resource. Empty: sign in with Microsoft Entra ID."""

    azure_openai_deployment: Annotated[str, Env("AZURE_OPENAI_DEPLOYMENT", "gpt-4.1")] = ""
    """Model deployment on that resource."""

    azure_openai_context_tokens: Annotated[int, Env("AZURE_OPENAI_CONTEXT_TOKENS", "128000")] = (
        Field(default=128_000, ge=512)
    )
    """The same as `VLLM_CONTEXT_TOKENS`, for this model."""

    openai_api_key: Annotated[str, Env("OPENAI_API_KEY")] = Field(default="", repr=False)
    """Key of an OpenAI account."""

    openai_base_url: Annotated[str, Env("OPENAI_BASE_URL")] = "https://api.openai.com/v1"
    """Base URL of OpenAI, or of a compatible service."""

    openai_model: Annotated[str, Env("OPENAI_MODEL", "gpt-4.1-mini")] = "gpt-4.1-mini"
    """Model of OpenAI."""

    openai_context_tokens: Annotated[int, Env("OPENAI_CONTEXT_TOKENS", "128000")] = Field(
        default=128_000, ge=512
    )
    """The same as `VLLM_CONTEXT_TOKENS`, for this model."""

    def problems(self) -> list[str]:
        """See `Settings.problems`; checks the URLs, with https where credentials are sent."""
        problems: list[str] = []
        for setting, url, with_credentials in (
            ("VLLM_SERVER_URL", self.vllm_server_url, bool(self.vllm_api_key)),
            ("AZURE_ML_ENDPOINT", self.azure_ml_endpoint, True),
            ("AZURE_OPENAI_ENDPOINT", self.azure_openai_endpoint, True),
            ("OPENAI_BASE_URL", self.openai_base_url, True),
        ):
            try:
                if url:
                    split_url(url, with_credentials=with_credentials)
            except ValueError as error:
                problems.append(f"{setting} cannot be used: {error}")
        if self.azure_openai_endpoint and not self.azure_openai_deployment:
            problems.append(
                "AZURE_OPENAI_ENDPOINT is set without a model: set AZURE_OPENAI_DEPLOYMENT"
            )
        return problems

    @property
    def by_type(self) -> dict[ModelType, str]:
        """The names of the configured models; empty for one that the server chooses."""
        configured = {
            ModelType.VLLM: (self.vllm_server_url, self.vllm_model),
            ModelType.AZURE_ML: (self.azure_ml_endpoint, self.azure_ml_model),
            ModelType.AZURE_OPENAI: (self.azure_openai_endpoint, self.azure_openai_deployment),
            ModelType.OPENAI: (self.openai_api_key, self.openai_model),
        }
        return {kind: name for kind, (reached, name) in configured.items() if reached}

    @property
    def names(self) -> list[str]:
        """The names of the configured models, except those that the server chooses."""
        return list(filter(None, self.by_type.values()))
