"""All settings: their environment variables, meanings and defaults.

Environment variables are read only here, and once. ``AppSettings.from_env()`` returns a frozen
object, or raises one ``SettingsError`` that lists every problem: the variable, what it must be and
how to fix it, but never its value.
"""

from .app import HTTP_DEADLINE_SECONDS, AppSettings
from .base import Env, Settings, SettingsError, names_in
from .foundry import (
    AGENT_IS_LABEL,
    DEFAULT_MODEL,
    KEY_AT_PROJECT,
    FoundryAgentServiceConfig,
    MLConfig,
)
from .identity import GUID, AccessSettings, AuthMode, IdentitySettings
from .jobs import SECRET_PREFIX, CallbackHost, CallbackSettings, JobSettings
from .models import DEFAULT_ORDER, NOT_SERVED, ModelSettings, ModelType, Preferences
from .operation import ConsoleSettings, LimitSettings, TelemetrySettings
from .rules import POISON_SUFFIX
from .spending import SpendingSettings
from .storage import RetentionSettings, StorageSettings

__all__ = [
    "AGENT_IS_LABEL",
    "DEFAULT_MODEL",
    "DEFAULT_ORDER",
    "GUID",
    "HTTP_DEADLINE_SECONDS",
    "KEY_AT_PROJECT",
    "NOT_SERVED",
    "POISON_SUFFIX",
    "SECRET_PREFIX",
    "AccessSettings",
    "AppSettings",
    "AuthMode",
    "CallbackHost",
    "CallbackSettings",
    "ConsoleSettings",
    "Env",
    "FoundryAgentServiceConfig",
    "IdentitySettings",
    "JobSettings",
    "LimitSettings",
    "MLConfig",
    "ModelSettings",
    "ModelType",
    "Preferences",
    "RetentionSettings",
    "Settings",
    "SettingsError",
    "SpendingSettings",
    "StorageSettings",
    "TelemetrySettings",
    "names_in",
]
