"""The app: builds every part once per process and closes them all."""

from ..state.account import Tables
from .core import Core
from .services import Services

__all__ = ["Core", "Services", "Tables"]
