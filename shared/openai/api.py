"""The handlers of the face, and how they are connected."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..foundry.service import FoundryService
from ..jobs.cancellation import Cancellation
from ..jobs.submission import Submission
from ..orchestration.catalogue import Catalogue
from ..state.idempotency import IdempotencyKeys
from ..state.jobs import Jobs
from ..state.lanes import Clock
from ..state.responses import Responses
from ..state.table import Table
from ..turns.pipeline import Turns
from .asked import Commands
from .background import BackgroundResponses
from .chat import ChatApi
from .conversations import ConversationsApi
from .deletion import Deletion
from .models import ModelNames, ModelsApi
from .responses import ResponsesApi
from .sends import Sends
from .stored import Stored

CLOSING = timedelta(minutes=1)
"""Beyond the longest stream, until its turn is stored."""


@dataclass(frozen=True, slots=True)
class OpenAiApi:
    """The handlers of all resources of the face."""

    models: ModelsApi
    chat: ChatApi
    responses: ResponsesApi
    conversations: ConversationsApi


@dataclass(frozen=True, slots=True)
class OpenAiParts:
    """The parts of the app that the face uses."""

    turns: Turns
    keys: IdempotencyKeys
    catalogue: Catalogue
    foundry: FoundryService
    table: Table
    clock: Clock
    jobs: Jobs
    submission: Submission
    cancellation: Cancellation
    conversations: ConversationsApi


def build_openai(parts: OpenAiParts) -> OpenAiApi:
    """Build the handlers of the face."""
    catalogue = parts.catalogue
    settings = catalogue.settings
    names = ModelNames(catalogue)
    commands = Commands(names, catalogue.limits, settings, parts.foundry.offered_tools)
    sends = Sends(parts.turns, parts.keys)
    longest = timedelta(seconds=settings.stream_seconds) + CLOSING
    responses = Responses(parts.table)
    stored = Stored(responses, parts.jobs, parts.clock, longest)
    background = BackgroundResponses(parts.submission, parts.cancellation, parts.keys, stored)
    deletion = Deletion(parts.table, responses, parts.jobs, parts.foundry)
    content = settings.storage.record_content
    return OpenAiApi(
        ModelsApi(names),
        ChatApi(commands, sends),
        ResponsesApi(
            commands, sends, stored, background, deletion, config=settings.foundry, content=content
        ),
        parts.conversations,
    )
