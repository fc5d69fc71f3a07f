"""The settings that each type of model needs."""

from __future__ import annotations

from ..config import DEFAULT_ORDER, NOT_SERVED, ModelType
from ..foundry.endpoint import NOT_CONFIGURED

__all__ = ["DEFAULT_ORDER", "WHAT_TO_SET", "ModelType"]

WHAT_TO_SET: dict[ModelType, str] = {
    ModelType.FOUNDRY_AGENT_SERVICE: NOT_CONFIGURED,
    ModelType.VLLM: "vLLM is not configured: set VLLM_SERVER_URL, such as http://vllm:8000.",
    ModelType.AZURE_ML: (
        "Azure ML is not configured: set AZURE_ML_ENDPOINT to the online endpoint's URL, and "
        "AZURE_ML_KEY unless the app signs in with Entra."
    ),
    ModelType.AZURE_OPENAI: (
        "Azure OpenAI is not configured: set AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_DEPLOYMENT, "
        "and AZURE_OPENAI_API_KEY unless the app signs in with Entra."
    ),
    ModelType.OPENAI: "OpenAI is not configured: set OPENAI_API_KEY.",
    **NOT_SERVED,
}
"""The error text for each type that is not configured: why, and what to do."""
