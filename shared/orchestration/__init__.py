"""Orchestration: choosing the model that answers, and fallback to another model."""

from .model_types import ModelType
from .orchestrator import ModelOrchestrator

__all__ = ["ModelOrchestrator", "ModelType"]
