"""An emulator of one Foundry project endpoint and the resource endpoint of the same account."""

from .app import create_app
from .settings import EmulatorSettings

__all__ = ["EmulatorSettings", "create_app"]
