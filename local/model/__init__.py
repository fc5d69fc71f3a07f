"""Language models that answer locally: a small embedded one, a scripted one, any OpenAI server."""

from .base import (
    Delta,
    Finished,
    FinishReason,
    JsonObject,
    LanguageModel,
    ModelError,
    Prompt,
    PromptBlockedError,
    PromptTooLongError,
    RefusalDelta,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
)
from .choose import BackendSettings, open_model
from .history import fit_to_context
from .scripted import ScriptedModel

__all__ = [
    "BackendSettings",
    "Delta",
    "FinishReason",
    "Finished",
    "JsonObject",
    "LanguageModel",
    "ModelError",
    "Prompt",
    "PromptBlockedError",
    "PromptTooLongError",
    "RefusalDelta",
    "ScriptedModel",
    "TextDelta",
    "TokenUsage",
    "ToolCallDelta",
    "fit_to_context",
    "open_model",
]
