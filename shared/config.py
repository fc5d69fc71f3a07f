"""Every setting of the product: where it comes from, what it means, its default.

Settings are environment variables. They are read here and nowhere else, once, and all problems
are reported together: ``AppSettings.from_env()`` either returns a frozen object or raises one
``SettingsError`` that names each variable, what it must be and how to fix it, never its value.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from .terms import read_budgets, read_prices

DEFAULT_MODEL = "llama-3.3-70b"

HTTP_DEADLINE_SECONDS = 220
"""Azure cuts an HTTP answer at about 230 s; a turn must be over a little before that."""


class SettingsError(ValueError):
    """One or more settings are wrong; the text lists each of them with its fix."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{len(problems)} setting(s) need attention:{lines}")


@dataclass(frozen=True, slots=True)
class Env:
    """The environment variable behind a field, and an example that shows its form."""

    name: str
    example: str = ""


QUEUE_NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
"""What Queue Storage allows, less what `-poison` adds to the length."""

GUID = r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_GUID_OR_NOTHING = rf"^({GUID})?$"
_GUIDS = rf"^({GUID}(\s*,\s*{GUID})*)?$"

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of every secret, as Standard Webhooks has it
MIN_SECRET_BYTES = 24

_KINDS: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number"}


class Settings(BaseModel):
    """A frozen group of settings, readable from the environment."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        protected_namespaces=(),
        str_strip_whitespace=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read every field from ``environ`` (default: the process environment).

        Raises:
            SettingsError: naming every wrong variable at once.
        """
        source = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        problems: list[str] = []
        for name, group in cls._groups():
            try:
                values[name] = group.from_env(source)
            except SettingsError as error:
                problems += error.problems
        variables = cls.variables()
        for name, env in variables.items():
            if text := source.get(env.name, "").strip():
                values[name] = text
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(
                problems + [cls._explain(detail) for detail in error.errors()]
            ) from None
        if problems:
            raise SettingsError(problems)
        return settings

    @classmethod
    def variables(cls) -> dict[str, Env]:
        """Map each field of this group to its environment variable, in order of declaration."""
        return {
            name: env
            for name, field in cls.model_fields.items()
            for env in field.metadata
            if isinstance(env, Env)
        }

    @classmethod
    def _groups(cls) -> list[tuple[str, type[Settings]]]:
        return [
            (name, field.annotation)
            for name, field in cls.model_fields.items()
            if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
        ]

    @classmethod
    def _explain(cls, detail: ErrorDetails) -> str:
        if not detail["loc"]:  # a rule about several settings, which names them itself
            return detail["msg"].removeprefix("Value error, ")
        name = str(detail["loc"][0])
        env = cls.variables()[name]
        kind = _KINDS.get(cls.model_fields[name].annotation, "text")
        example = f"; for example {env.name}={env.example}" if env.example else ""
        return f"{env.name} must be {kind}: {detail['msg']}{example}"


class FoundryAgentServiceConfig(Settings):
    """How to reach the Foundry Agent Service and how its model should answer."""

    endpoint_url: Annotated[
        str,
        Env("FOUNDRY_AGENT_SERVICE_ENDPOINT", "https://acme.services.ai.azure.com/api/projects/p"),
    ] = ""
    """Project endpoint (agents, conversations; Entra tokens only) or resource endpoint ending in
    `/openai/v1` (models only; API key or Entra token)."""

    api_key: Annotated[str, Env("FOUNDRY_AGENT_SERVICE_API_KEY")] = Field(default="", repr=False)
    """API key of the resource. Works on resource endpoints only; leave empty to use Entra."""

    agent_id: Annotated[str, Env("FOUNDRY_AGENT_ID", "support-agent")] = ""
    """Name of a Foundry agent, or `name:version`. Empty: the model is called directly."""

    model: Annotated[str, Env("FOUNDRY_MODEL", DEFAULT_MODEL)] = DEFAULT_MODEL
    """Name of the model deployment, used where no agent is configured."""

    enable_stateful_threads: Annotated[bool, Env("FOUNDRY_ENABLE_STATEFUL_THREADS", "true")] = True
    """Keep conversations in Foundry. Off: every message stands alone and threads are refused."""

    enable_entra_agent_id: Annotated[bool, Env("FOUNDRY_ENABLE_ENTRA_AGENT_ID", "true")] = True
    """Sign in with Microsoft Entra ID when no API key is set."""

    enable_foundry_tools: Annotated[bool, Env("FOUNDRY_ENABLE_FOUNDRY_TOOLS", "true")] = True
    """Allow tools in requests. Off: a request that names tools is refused."""

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
    """The most tokens an answer may have."""

    top_p: Annotated[float, Env("FOUNDRY_TOP_P", "0.9")] = Field(default=0.9, ge=0, le=1)
    """Nucleus sampling: the share of probability the next token is drawn from."""

    pool_size: Annotated[int, Env("FOUNDRY_POOL_SIZE", "2000")] = Field(default=2000, ge=1)
    """The most connections to Foundry that one process opens."""

    vector_store_ids: Annotated[str, Env("FOUNDRY_VECTOR_STORE_IDS", "vs_abc,vs_def")] = ""
    """Vector stores that the tool `file_search` looks in, separated by commas."""

    search_connection_id: Annotated[str, Env("FOUNDRY_SEARCH_CONNECTION_ID")] = ""
    """Resource id of the project's connection to Azure AI Search, for the tool
    `azure_ai_search`."""

    search_index: Annotated[str, Env("FOUNDRY_SEARCH_INDEX")] = ""
    """Index that the tool `azure_ai_search` looks in."""

    tool_timeout: Annotated[float, Env("FOUNDRY_TOOL_TIMEOUT", "30")] = Field(
        default=30, gt=0, le=600
    )
    """Seconds that one call of a custom tool may take, where the tool sets no limit of its own."""

    log_content: Annotated[bool, Env("FOUNDRY_LOG_CONTENT", "true")] = False
    """Write what is sent to Foundry and what it answers to the log, at level DEBUG, and what was
    said to traces. Off: only ids, sizes and decisions."""


class IdentitySettings(Settings):
    """Which Entra identity the app signs in with, and on which terms."""

    client_id: Annotated[str, Env("AZURE_CLIENT_ID")] = ""
    """Client id of the user-assigned managed identity. Empty: the system-assigned one."""

    tenant_id: Annotated[str, Env("AZURE_TENANT_ID")] = ""
    """Tenant to sign in to. Empty: the default tenant of the signed-in developer."""

    managed_identity_endpoint: Annotated[str, Env("IDENTITY_ENDPOINT")] = ""
    """Set by Azure where a managed identity is assigned; its presence chooses that identity."""

    agent_identity_client_id: Annotated[str, Env("FOUNDRY_AGENT_IDENTITY_CLIENT_ID")] = Field(
        default="", pattern=_GUID_OR_NOTHING
    )
    """Client id of the Entra agent identity that the agent acts under, a GUID."""

    agent_blueprint_client_id: Annotated[str, Env("FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID")] = Field(
        default="", pattern=_GUID_OR_NOTHING
    )
    """Client id of the blueprint that the agent identity was made from, a GUID."""

    agent_blueprint_certificate: Annotated[str, Env("FOUNDRY_AGENT_BLUEPRINT_CERTIFICATE_PATH")] = (
        ""
    )
    """PEM file with the blueprint's certificate and key; only where no managed identity is."""

    agent_blueprint_secret: Annotated[str, Env("FOUNDRY_AGENT_BLUEPRINT_CLIENT_SECRET")] = Field(
        default="", repr=False
    )
    """Secret of the blueprint, for development; only where no managed identity is."""

    authority_host: Annotated[
        str, Env("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com")
    ] = Field(default="https://login.microsoftonline.com", pattern=r"^https://[^/?#@]+/?$")
    """Where Entra issues tokens; sovereign clouds have their own."""

    exchange_audience: Annotated[
        str, Env("FOUNDRY_TOKEN_EXCHANGE_AUDIENCE", "api://AzureADTokenExchange")
    ] = "api://AzureADTokenExchange"
    """Audience of the assertions of an agent identity; sovereign clouds have their own."""


class AuthMode(StrEnum):
    """How callers show who they are."""

    FUNCTION = "function"
    ENTRA = "entra"
    BOTH = "both"
    ANONYMOUS = "anonymous"

    @property
    def asks_for_key(self) -> bool:
        """Whether the Functions host lets in only requests with a function key."""
        return self in {AuthMode.FUNCTION, AuthMode.BOTH}

    @property
    def knows_principals(self) -> bool:
        """Whether the principal that App Service authentication found counts."""
        return self in {AuthMode.ENTRA, AuthMode.BOTH}


class AccessSettings(Settings):
    """Who may call the app."""

    mode: Annotated[AuthMode, Env("AUTH_MODE", "entra")] = AuthMode.FUNCTION
    """`function`: a function key; `entra`: an Entra token; `both`: a key, and with it a token
    where one is sent; `anonymous`: nothing."""

    anonymous_confirmed: Annotated[bool, Env("AUTH_ANONYMOUS_CONFIRMED", "true")] = False
    """Says a second time that `AUTH_MODE=anonymous` is meant."""

    easy_auth: Annotated[bool, Env("WEBSITE_AUTH_ENABLED", "True")] = False
    """Set by Azure where App Service authentication is on; without it no principal is believed."""

    tenant_ids: Annotated[str, Env("AUTH_TENANT_IDS")] = Field(default="", pattern=_GUIDS)
    """Tenants whose callers are let in, GUIDs with commas between."""

    audiences: Annotated[str, Env("AUTH_AUDIENCES", "api://my-app")] = ""
    """Audiences that a caller's token may have, with commas between: the app's client id or URI."""

    client_ids: Annotated[str, Env("AUTH_CLIENT_IDS")] = Field(default="", pattern=_GUIDS)
    """Client applications that may call, GUIDs with commas between. Empty: any with a role."""

    issuers: Annotated[str, Env("AUTH_ISSUERS")] = ""
    """Issuers that a caller's token may have, with commas between. Empty: Entra's own two of the
    caller's tenant."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.mode is AuthMode.ANONYMOUS and not self.anonymous_confirmed:
            raise ValueError(
                "AUTH_MODE is anonymous, which lets everybody in: if that is meant, set "
                "AUTH_ANONYMOUS_CONFIRMED=true as well; if not, choose function or entra"
            )
        if self.mode.knows_principals and not (self.tenant_ids and self.audiences):
            raise ValueError(
                f"AUTH_MODE is {self.mode}, which needs AUTH_TENANT_IDS (who may call) and "
                "AUTH_AUDIENCES (this app's client id or application id URI)"
            )
        return self


class StorageSettings(Settings):
    """Where state is kept: Table Storage for records, Queue Storage for jobs."""

    connection_string: Annotated[str, Env("AzureWebJobsStorage", "UseDevelopmentStorage=true")] = (
        Field(default="", repr=False)
    )
    """Connection string of the storage account; local development only."""

    table_service_uri: Annotated[str, Env("AzureWebJobsStorage__tableServiceUri")] = ""
    """Table endpoint of the storage account, reached with the managed identity."""

    queue_service_uri: Annotated[str, Env("AzureWebJobsStorage__queueServiceUri")] = ""
    """Queue endpoint of the storage account, reached with the managed identity."""

    state_table: Annotated[str, Env("STATE_TABLE_NAME", "aosfoundry")] = Field(
        default="aosfoundry", pattern=r"^[A-Za-z][A-Za-z0-9]{2,62}$"
    )
    """Table of threads, turns and jobs."""

    audit_table: Annotated[str, Env("AUDIT_TABLE_NAME", "aosaudit")] = Field(
        default="aosaudit", pattern=r"^[A-Za-z][A-Za-z0-9]{2,62}$"
    )
    """Table of the audit trail."""

    metrics_table: Annotated[str, Env("METRICS_TABLE_NAME", "aosmetrics")] = Field(
        default="aosmetrics", pattern=r"^[A-Za-z][A-Za-z0-9]{2,62}$"
    )
    """Table of figures: metrics, usage and budgets."""

    record_content: Annotated[bool, Env("RECORD_CONTENT", "true")] = True
    """Keep the text of questions and answers. Off: only figures and ids are kept, and a
    conversation that moves to another model begins there without its history."""


class JobSettings(Settings):
    """How jobs come in and how long they may run."""

    inlet_queue: Annotated[str, Env("JOBS_QUEUE_NAME", "agent-jobs")] = Field(
        default="agent-jobs", min_length=3, max_length=56, pattern=QUEUE_NAME
    )
    """Queue on which any producer may put jobs; `<name>-poison` receives what cannot be run."""

    lanes_queue: Annotated[str, Env("LANES_QUEUE_NAME", "agent-lanes")] = Field(
        default="agent-lanes", min_length=3, max_length=56, pattern=QUEUE_NAME
    )
    """Queue of the app's own, which tells workers that a lane has work."""

    turn_timeout: Annotated[float, Env("JOB_TURN_TIMEOUT", "600")] = Field(
        default=600, gt=0, le=1740
    )
    """Seconds that one message of a job may take; nobody waits on HTTP, so it may be long."""


class OutletSettings(Settings):
    """Where the end of a job may be told: callbacks and reply queues."""

    callback_hosts: Annotated[str, Env("CALLBACK_HOSTS", "hooks.contoso.com,*.fabrikam.com")] = ""
    """Hosts that jobs may be called back at, separated by commas; `*.` stands for any name below,
    `host:port` for a port other than 443. Empty: a job with a `callback_url` is refused."""

    callback_secret: Annotated[str, Env("CALLBACK_SECRET", "whsec_<base64>")] = Field(
        default="", repr=False
    )
    """Secret that callbacks are signed with: `whsec_` and at least 24 bytes in base64. Several,
    separated by commas, all sign, so that one can be replaced without a gap."""

    callback_timeout: Annotated[float, Env("CALLBACK_TIMEOUT", "10")] = Field(
        default=10, gt=0, le=60
    )
    """Seconds within which a receiver must have taken a callback."""

    reply_queues: Annotated[str, Env("REPLY_QUEUES", "replies,billing-replies")] = ""
    """Queues of the storage account that jobs may be answered on, separated by commas. Empty: a job
    with a `reply_queue` is refused."""

    deliveries_queue: Annotated[str, Env("DELIVERIES_QUEUE_NAME", "agent-deliveries")] = Field(
        default="agent-deliveries", min_length=3, max_length=56, pattern=QUEUE_NAME
    )
    """Queue of the app's own, which tells workers that the end of a job is to be told."""

    loopback_callbacks: Annotated[bool, Env("TESTS_ONLY_ALLOW_CALLBACKS_TO_127_0_0_1", "false")] = (
        False
    )
    """Lets callbacks go to `http://127.0.0.1`. For tests only: never set it where the app serves
    others."""

    @field_validator("callback_secret")
    @classmethod
    def _can_sign(cls, text: str) -> str:
        for secret in names_in(text):
            try:
                key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
            except ValueError:
                key = b""
            if not secret.startswith(SECRET_PREFIX) or len(key) < MIN_SECRET_BYTES:
                raise ValueError(f"each is {SECRET_PREFIX} and {MIN_SECRET_BYTES} bytes or more")
        return text


class RetentionSettings(Settings):
    """How long records are kept."""

    turn_days: Annotated[int, Env("RETAIN_TURNS_DAYS", "90")] = Field(default=90, ge=0)
    """Days that turn rows are kept; 0 keeps them for good."""

    job_days: Annotated[int, Env("RETAIN_JOBS_DAYS", "30")] = Field(default=30, ge=0)
    """Days that a job is kept after it has ended; 0 keeps jobs for good."""

    delivery_days: Annotated[int, Env("RETAIN_DELIVERIES_DAYS", "7")] = Field(default=7, ge=0)
    """Days that the record of a callback or reply is kept after its job has ended; 0 keeps it for
    good."""

    audit_days: Annotated[int, Env("RETAIN_AUDIT_DAYS", "365")] = Field(default=365, ge=0, le=3650)
    """Days that audit records are kept; 0 keeps them for good."""

    metrics_days: Annotated[int, Env("RETAIN_METRICS_DAYS", "14")] = Field(
        default=14, ge=0, le=3650
    )
    """Days that figures are kept by minute and by hour; 0 keeps them for good. Those by day always
    stay."""


class SpendingSettings(Settings):
    """What models cost and what may be spent."""

    prices: Annotated[
        str,
        Env("PRICES", '{"currency": "EUR", "models": {"gpt-4.1": {"input": 2, "output": 8}}}'),
    ] = ""
    """What a million tokens of each model cost, as JSON; `*` stands for models not listed. Empty:
    cost is unknown."""

    budgets: Annotated[str, Env("BUDGETS", '[{"owner": "*", "tokens": 1000000, "per": "day"}]')] = (
        ""
    )
    """Limits of owners and departments, as JSON. Empty: everybody may spend without limit."""

    @field_validator("prices")
    @classmethod
    def _has_prices(cls, text: str) -> str:
        read_prices(text)
        return text

    @field_validator("budgets")
    @classmethod
    def _has_budgets(cls, text: str) -> str:
        read_budgets(text)
        return text

    @model_validator(mode="after")
    def _can_tell_cost(self) -> Self:
        limits_money = any(budget.money for budget in read_budgets(self.budgets))
        if limits_money and not read_prices(self.prices).models:
            raise ValueError("BUDGETS limits money, so PRICES must say what models cost")
        return self


class TelemetrySettings(Settings):
    """Where traces and logs go."""

    connection_string: Annotated[
        str, Env("APPLICATIONINSIGHTS_CONNECTION_STRING", "InstrumentationKey=...")
    ] = ""
    """Application Insights that traces and logs are sent to. Empty: nowhere."""

    site_name: Annotated[str, Env("WEBSITE_SITE_NAME")] = ""
    """Set by Azure to the app's name, under which its telemetry is found."""


def names_in(text: str) -> list[str]:
    """The names in a setting that separates them by commas."""
    return [name for part in text.split(",") if (name := part.strip())]


class ModelSettings(Settings):
    """Models beside Foundry that `ModelOrchestrator` may ask, and in which order."""

    preferences: Annotated[
        str, Env("MODEL_PREFERENCES", "sales=azure_ml,vllm; *=foundry_agent_service,vllm")
    ] = ""
    """Which models answer, best first, by domain; `*` is any other. Empty: Foundry, then the rest
    in the order of this table. Where a model fails, the next one of its list answers."""

    vllm_server_url: Annotated[str, Env("VLLM_SERVER_URL", "http://vllm:8000")] = ""
    """vLLM or another server that speaks OpenAI chat completions."""

    vllm_api_key: Annotated[str, Env("VLLM_API_KEY")] = Field(default="", repr=False)
    """Key of that server, where it asks for one."""

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
    """As `VLLM_CONTEXT_TOKENS`."""

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
    """As `VLLM_CONTEXT_TOKENS`."""

    openai_api_key: Annotated[str, Env("OPENAI_API_KEY")] = Field(default="", repr=False)
    """Key of an OpenAI account."""

    openai_base_url: Annotated[str, Env("OPENAI_BASE_URL")] = "https://api.openai.com/v1"
    """Where OpenAI, or what stands in for it, is reached."""

    openai_model: Annotated[str, Env("OPENAI_MODEL", "gpt-4.1-mini")] = "gpt-4.1-mini"
    """Model of OpenAI."""

    openai_context_tokens: Annotated[int, Env("OPENAI_CONTEXT_TOKENS", "128000")] = Field(
        default=128_000, ge=512
    )
    """As `VLLM_CONTEXT_TOKENS`."""


class MLConfig(Settings):
    """The Agent Operating System's machine-learning settings that concern Foundry."""

    enable_foundry_agent_service: bool = True
    """Offer the Foundry Agent Service as a model."""

    foundry_agent_service_endpoint: Annotated[str, Env("FOUNDRY_AGENT_SERVICE_ENDPOINT")] = ""
    """As `FoundryAgentServiceConfig.endpoint_url`."""

    foundry_agent_service_api_key: Annotated[str, Env("FOUNDRY_AGENT_SERVICE_API_KEY")] = Field(
        default="", repr=False
    )
    """As `FoundryAgentServiceConfig.api_key`."""

    foundry_agent_id: Annotated[str, Env("FOUNDRY_AGENT_ID")] = ""
    """As `FoundryAgentServiceConfig.agent_id`."""

    foundry_model: Annotated[str, Env("FOUNDRY_MODEL")] = DEFAULT_MODEL
    """As `FoundryAgentServiceConfig.model`."""

    foundry_enable_stateful_threads: Annotated[bool, Env("FOUNDRY_ENABLE_STATEFUL_THREADS")] = True
    """As `FoundryAgentServiceConfig.enable_stateful_threads`."""

    foundry_enable_entra_agent_id: Annotated[bool, Env("FOUNDRY_ENABLE_ENTRA_AGENT_ID")] = True
    """As `FoundryAgentServiceConfig.enable_entra_agent_id`."""

    foundry_enable_foundry_tools: Annotated[bool, Env("FOUNDRY_ENABLE_FOUNDRY_TOOLS")] = True
    """As `FoundryAgentServiceConfig.enable_foundry_tools`."""

    def foundry(self) -> FoundryAgentServiceConfig:
        """These settings as the client takes them."""
        return FoundryAgentServiceConfig(
            endpoint_url=self.foundry_agent_service_endpoint,
            api_key=self.foundry_agent_service_api_key,
            agent_id=self.foundry_agent_id,
            model=self.foundry_model,
            enable_stateful_threads=self.foundry_enable_stateful_threads,
            enable_entra_agent_id=self.foundry_enable_entra_agent_id,
            enable_foundry_tools=self.foundry_enable_foundry_tools,
        )


class AppSettings(Settings):
    """Everything the Functions app reads, in groups."""

    foundry: FoundryAgentServiceConfig = FoundryAgentServiceConfig()
    """The Foundry Agent Service."""

    identity: IdentitySettings = IdentitySettings()
    """The app's own identity."""

    access: AccessSettings = AccessSettings()
    """Who may call."""

    models: ModelSettings = ModelSettings()
    """Models beside Foundry."""

    storage: StorageSettings = StorageSettings()
    """The storage account."""

    jobs: JobSettings = JobSettings()
    """Jobs and their queues."""

    outlets: OutletSettings = OutletSettings()
    """Callbacks and reply queues."""

    retention: RetentionSettings = RetentionSettings()
    """How long records are kept."""

    spending: SpendingSettings = SpendingSettings()
    """Prices and budgets."""

    telemetry: TelemetrySettings = TelemetrySettings()
    """Where traces and logs go."""

    @property
    def turn_seconds(self) -> float:
        """How long a turn may take while its caller waits on HTTP."""
        return self.turn_seconds_after(0)

    def turn_seconds_after(self, waited: float) -> float:
        """As `turn_seconds`, for a caller who has waited for some seconds already."""
        return min(self.foundry.timeout, HTTP_DEADLINE_SECONDS - waited)

    @property
    def stream_seconds(self) -> float:
        """How long a streamed turn may take; Azure does not cut an answer that keeps coming."""
        return self.jobs.turn_timeout
