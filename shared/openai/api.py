"""The handlers of the face, and how they are connected."""

from __future__ import annotations

from dataclasses import dataclass

from ..orchestration.catalogue import Catalogue
from ..state.idempotency import IdempotencyKeys
from ..turns.pipeline import Turns
from .asked import Commands
from .chat import ChatApi
from .models import ModelNames, ModelsApi
from .sends import Sends
from .tools import OfferedTools


@dataclass(frozen=True, slots=True)
class OpenAiApi:
    """The handlers of all resources of the face."""

    models: ModelsApi
    chat: ChatApi


def build_openai(
    turns: Turns, keys: IdempotencyKeys, catalogue: Catalogue, offered_tools: OfferedTools
) -> OpenAiApi:
    """Build the handlers of the face."""
    names = ModelNames(catalogue)
    commands = Commands(names, catalogue.limits, catalogue.settings, offered_tools)
    sends = Sends(turns, keys)
    return OpenAiApi(ModelsApi(names), ChatApi(commands, sends))
