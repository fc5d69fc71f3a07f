"""`ModelType`: the kinds of models that a request can name."""

from __future__ import annotations

from enum import StrEnum

from ..foundry.endpoint import NOT_CONFIGURED


class ModelType(StrEnum):
    """A kind of model; its value is what settings, results and HTTP bodies say."""

    VLLM = "vllm"
    AZURE_ML = "azure_ml"
    OPENAI = "openai"
    AZURE_OPENAI = "azure_openai"
    AGENT_FRAMEWORK = "agent_framework"
    SEMANTIC_KERNEL = "semantic_kernel"
    LOCAL_MODEL = "local_model"
    FOUNDRY_AGENT_SERVICE = "foundry_agent_service"


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
"""Why a type cannot be used where it is not configured, and what to do."""

DEFAULT_ORDER = (
    ModelType.FOUNDRY_AGENT_SERVICE,
    ModelType.VLLM,
    ModelType.AZURE_ML,
    ModelType.AZURE_OPENAI,
    ModelType.OPENAI,
)
"""Which model is preferred where settings do not say."""
