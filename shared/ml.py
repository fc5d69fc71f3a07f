"""The machine-learning names of the Agent Operating System."""

from .config import FoundryAgentServiceConfig, MLConfig
from .foundry import FoundryAgentServiceClient, FoundryResponse, ThreadInfo

__all__ = [
    "FoundryAgentServiceClient",
    "FoundryAgentServiceConfig",
    "FoundryResponse",
    "MLConfig",
    "ThreadInfo",
]
