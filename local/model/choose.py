"""Open the model that the settings name."""

from dataclasses import dataclass

from .base import LanguageModel
from .openai_compatible import DEFAULT_CONTEXT_TOKENS, OpenAICompatibleModel, ServerSettings
from .scripted import ScriptedModel
from .smollm2 import SmolLM2Model


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """Which model answers."""

    backend: str = "smollm2"
    """`smollm2`, `scripted`, or the base URL of an OpenAI-compatible server."""
    model: str | None = None
    """The model's name on that server."""
    api_key: str | None = None
    context_tokens: int = DEFAULT_CONTEXT_TOKENS
    """The context of that server's model, in tokens."""
    token_delay_seconds: float = 0.0
    """How long the scripted model takes for each token."""


async def open_model(settings: BackendSettings) -> LanguageModel:
    """Open the backend; raises `ValueError` for an unknown one, `ModelError` if it cannot start."""
    if settings.backend == "smollm2":
        return await SmolLM2Model.open()
    if settings.backend == "scripted":
        return ScriptedModel(token_delay_seconds=settings.token_delay_seconds)
    if settings.backend.startswith(("http://", "https://")):
        server = ServerSettings(
            settings.backend, settings.model, settings.api_key, settings.context_tokens
        )
        return OpenAICompatibleModel(server)
    message = f"{settings.backend!r} is no backend: use smollm2, scripted, or an http(s) URL"
    raise ValueError(message)
