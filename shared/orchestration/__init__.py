"""Models by type: who answers, who answers instead, and the conversation they share."""

from .model_types import ModelType
from .orchestrator import ModelOrchestrator

__all__ = ["ModelOrchestrator", "ModelType"]
