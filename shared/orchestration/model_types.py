"""The settings that each type of model needs."""

from __future__ import annotations

from ..config import DEFAULT_ORDER, ModelType
from ..foundry.endpoint import NOT_CONFIGURED

__all__ = ["DEFAULT_ORDER", "WHAT_TO_SET", "ModelType"]

_USE_FOUNDRY = "use FOUNDRY_AGENT_SERVICE, where agents are kept and run by the service"

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
"""The error text for each type that is not configured: why, and what to do."""
