"""Agents in Foundry: the operations on them, and their definitions as files (`.files`).

The files need PyYAML, which is not deployed; nothing here imports them.
"""

from .checks import check_tools
from .operations import Agents

__all__ = ["Agents", "check_tools"]
