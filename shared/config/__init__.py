"""Every setting of the product: where it comes from, what it means, its default.

Settings are environment variables. They are read here and nowhere else, once, and all problems
are reported together: ``AppSettings.from_env()`` either returns a frozen object or raises one
``SettingsError`` that names each variable, what it must be and how to fix it, never its value.
"""

from .app import HTTP_DEADLINE_SECONDS, AppSettings
from .base import Env, Settings, SettingsError, names_in
from .foundry import DEFAULT_MODEL, FoundryAgentServiceConfig, MLConfig
from .identity import GUID, AccessSettings, AuthMode, IdentitySettings
from .jobs import SECRET_PREFIX, JobSettings, OutletSettings
from .models import ModelSettings
from .operation import SpendingSettings, TelemetrySettings
from .storage import RetentionSettings, StorageSettings

__all__ = [
    "DEFAULT_MODEL",
    "GUID",
    "HTTP_DEADLINE_SECONDS",
    "SECRET_PREFIX",
    "AccessSettings",
    "AppSettings",
    "AuthMode",
    "Env",
    "FoundryAgentServiceConfig",
    "IdentitySettings",
    "JobSettings",
    "MLConfig",
    "ModelSettings",
    "OutletSettings",
    "RetentionSettings",
    "Settings",
    "SettingsError",
    "SpendingSettings",
    "StorageSettings",
    "TelemetrySettings",
    "names_in",
]
