"""Settings of the Foundry Agent Service."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import Env, Settings
from .endpoint import Surface, agent_name, check_identity, locate
from .rules import each, matching

DEFAULT_MODEL = "llama-3.3-70b"

KEY_AT_PROJECT = (
    "FOUNDRY_AGENT_SERVICE_API_KEY cannot work at a project endpoint, which takes Entra tokens "
    "only. Clear it to sign in with Entra, or use the resource endpoint "
    "https://<account>.services.ai.azure.com/openai/v1."
)

AGENT_IS_LABEL = (
    "FOUNDRY_AGENT_ID only names the agent in answers, metrics and audit: a resource endpoint has "
    "no agents, so the model answers without the agent's own instructions and tools. To use those, "
    "set FOUNDRY_AGENT_SERVICE_ENDPOINT to the project endpoint, which takes Entra tokens only."
)

_vector_store = matching(r"[A-Za-z0-9_-]+", "an id such as vs_abc")


class FoundryAgentServiceConfig(Settings):
    """How to reach the Foundry Agent Service and how its model should answer."""

    endpoint_url: Annotated[
        str,
        Env("FOUNDRY_AGENT_SERVICE_ENDPOINT", "https://acme.services.ai.azure.com/api/projects/p"),
    ] = ""
    """Project endpoint (agents, conversations; Entra tokens only) or resource endpoint (models
    only; API key or Entra token): a host as Azure shows it, with or without `/openai/v1`."""

    api_key: Annotated[str, Env("FOUNDRY_AGENT_SERVICE_API_KEY")] = Field(default="", repr=False)
    """API key of the resource. Works on resource endpoints only; leave empty to use Entra."""

    agent_id: Annotated[str, Env("FOUNDRY_AGENT_ID", "support-agent")] = ""
    """Name of a Foundry agent, or `name:version`. Empty: the model is called directly. At a
    resource endpoint, which has no agents, any id: answers, metrics and audit name it."""

    model: Annotated[str, Env("FOUNDRY_MODEL", DEFAULT_MODEL)] = DEFAULT_MODEL
    """Name of the model deployment, used where no agent is configured."""

    enable_stateful_threads: Annotated[bool, Env("FOUNDRY_ENABLE_STATEFUL_THREADS", "true")] = True
    """Keep conversations in Foundry. Off: messages have no history and threads are refused."""

    enable_entra_agent_id: Annotated[bool, Env("FOUNDRY_ENABLE_ENTRA_AGENT_ID", "true")] = True
    """Sign in with Microsoft Entra ID when no API key is set."""

    enable_foundry_tools: Annotated[bool, Env("FOUNDRY_ENABLE_FOUNDRY_TOOLS", "true")] = True
    """Allow tools in requests. Off: a request that names tools is refused."""

    callers_approve: Annotated[bool, Env("FOUNDRY_CALLERS_APPROVE", "true")] = True
    """Let the caller of a thread decide on a tool that needs approval. Off, and without a thread:
    such a tool is denied."""

    timeout: Annotated[float, Env("FOUNDRY_TIMEOUT", "60")] = Field(default=60, gt=0, le=1740)
    """Seconds for a whole turn, retries included; while streaming, the longest silence allowed."""

    max_retries: Annotated[int, Env("FOUNDRY_MAX_RETRIES", "3")] = Field(default=3, ge=0, le=10)
    """How often a failed call may be repeated, where repeating it is safe."""

    max_concurrency: Annotated[int, Env("FOUNDRY_MAX_CONCURRENCY", "300")] = Field(default=0, ge=0)
    """The most requests in flight to the model deployment from one process; 0 for no limit."""

    temperature: Annotated[float, Env("FOUNDRY_TEMPERATURE", "0.7")] = Field(
        default=0.7, ge=0, le=1
    )
    """Sampling temperature, 0.0 (most predictable) to 1.0."""

    max_tokens: Annotated[int, Env("FOUNDRY_MAX_TOKENS", "4096")] = Field(default=4096, ge=1)
    """The most tokens of an answer to a message without its own limit."""

    max_tokens_limit: Annotated[int, Env("FOUNDRY_MAX_TOKENS_LIMIT", "16384")] = Field(
        default=0, ge=0
    )
    """The highest limit that a message may set; a higher one is refused. 0:
    `FOUNDRY_MAX_TOKENS`."""

    allowed_models: Annotated[str, Env("FOUNDRY_ALLOWED_MODELS", "llama-3.3-70b,gpt-4.1")] = ""
    """Models that a message may name, separated by commas; `*` for any. Empty: `FOUNDRY_MODEL` and
    the configured models beside Foundry."""

    top_p: Annotated[float, Env("FOUNDRY_TOP_P", "0.9")] = Field(default=0.9, ge=0, le=1)
    """Nucleus sampling: the share of probability the next token is drawn from."""

    pool_size: Annotated[int, Env("FOUNDRY_POOL_SIZE", "2000")] = Field(default=2000, ge=1)
    """The most connections to Foundry that one process opens."""

    vector_store_ids: Annotated[
        str, each(_vector_store), Env("FOUNDRY_VECTOR_STORE_IDS", "vs_abc,vs_def")
    ] = ""
    """Vector stores that the tool `file_search` searches, separated by commas."""

    search_connection_id: Annotated[str, Env("FOUNDRY_SEARCH_CONNECTION_ID")] = ""
    """Resource id of the project's connection to Azure AI Search, for the tool
    `azure_ai_search`."""

    search_index: Annotated[str, Env("FOUNDRY_SEARCH_INDEX")] = ""
    """Index that the tool `azure_ai_search` searches."""

    tool_timeout: Annotated[float, Env("FOUNDRY_TOOL_TIMEOUT", "30")] = Field(
        default=30, gt=0, le=600
    )
    """Seconds that one call of a custom tool may take, where the tool sets no limit of its own."""

    log_content: Annotated[bool, Env("FOUNDRY_LOG_CONTENT", "true")] = False
    """Write requests to Foundry and its responses to the log, at level DEBUG, and questions and
    answers to traces. Off: only ids, sizes and decisions."""

    @property
    def agent_is_label(self) -> bool:
        """Whether `agent_id` is only a label, because the endpoint has no agents."""
        if not (self.agent_id and self.endpoint_url):
            return False
        try:
            return locate(self.endpoint_url)[0] is Surface.RESOURCE
        except ValueError:
            return False

    @property
    def asks_agent(self) -> bool:
        """Whether an agent answers, whose definition has the model, instructions and tools."""
        return bool(self.agent_id) and not self.agent_is_label

    def problems(self) -> list[str]:
        """See `Settings.problems`; a missing endpoint is reported by each request."""
        if not self.endpoint_url:
            return []
        try:
            surface, _ = locate(self.endpoint_url)
        except ValueError as error:
            return [str(error)]
        problems = [KEY_AT_PROJECT] if self.api_key and surface is Surface.PROJECT else []
        try:
            if self.agent_id:
                (agent_name if surface is Surface.PROJECT else check_identity)(self.agent_id)
        except ValueError as error:
            problems.append(str(error))
        return problems


class MLConfig(Settings):
    """The Agent Operating System's machine-learning settings that concern Foundry."""

    enable_foundry_agent_service: bool = True
    """Offer the Foundry Agent Service as a model."""

    foundry_agent_service_endpoint: Annotated[str, Env("FOUNDRY_AGENT_SERVICE_ENDPOINT")] = ""
    """The same as `FoundryAgentServiceConfig.endpoint_url`."""

    foundry_agent_service_api_key: Annotated[str, Env("FOUNDRY_AGENT_SERVICE_API_KEY")] = Field(
        default="", repr=False
    )
    """The same as `FoundryAgentServiceConfig.api_key`."""

    foundry_agent_id: Annotated[str, Env("FOUNDRY_AGENT_ID")] = ""
    """The same as `FoundryAgentServiceConfig.agent_id`."""

    foundry_model: Annotated[str, Env("FOUNDRY_MODEL")] = DEFAULT_MODEL
    """The same as `FoundryAgentServiceConfig.model`."""

    foundry_enable_stateful_threads: Annotated[bool, Env("FOUNDRY_ENABLE_STATEFUL_THREADS")] = True
    """The same as `FoundryAgentServiceConfig.enable_stateful_threads`."""

    foundry_enable_entra_agent_id: Annotated[bool, Env("FOUNDRY_ENABLE_ENTRA_AGENT_ID")] = True
    """The same as `FoundryAgentServiceConfig.enable_entra_agent_id`."""

    foundry_enable_foundry_tools: Annotated[bool, Env("FOUNDRY_ENABLE_FOUNDRY_TOOLS")] = True
    """The same as `FoundryAgentServiceConfig.enable_foundry_tools`."""

    def foundry(self) -> FoundryAgentServiceConfig:
        """Convert these settings to those of the client."""
        return FoundryAgentServiceConfig(
            endpoint_url=self.foundry_agent_service_endpoint,
            api_key=self.foundry_agent_service_api_key,
            agent_id=self.foundry_agent_id,
            model=self.foundry_model,
            enable_stateful_threads=self.foundry_enable_stateful_threads,
            enable_entra_agent_id=self.foundry_enable_entra_agent_id,
            enable_foundry_tools=self.foundry_enable_foundry_tools,
        )
