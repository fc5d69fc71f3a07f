"""Local language models: a small embedded one, a scripted one, any OpenAI-compatible server."""

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
    fit_to_context,
)
from .choose import BackendSettings, open_model
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
