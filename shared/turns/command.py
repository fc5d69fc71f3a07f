"""The data of a turn: the command to run it, the running turn, and the answered turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter

from ..audit.trail import THE_APP, Caller
from ..config import ModelType
from ..foundry.errors import FoundryError
from ..foundry.events import Emit, TurnEvent
from ..foundry.exchange import BeforeSend, may_send
from ..foundry.models import TurnRequest, TurnResult
from ..foundry.retry import Deadline
from ..metering.budgets.account import Rest
from ..state.client_keys import KeyTerms
from ..state.idempotency import Claim
from ..state.table import Change, Row
from ..state.turns import FirstTry, TurnMode
from .background import StillRunning
from .conversation import Conversation


@dataclass(frozen=True, slots=True)
class Attempt:
    """A model that was asked, or skipped because its circuit is open."""

    model_type: ModelType
    error_code: str | None = None
    """Why it gave no answer; None for the one that did."""

    def to_json(self) -> dict[str, str | None]:
        """The attempt as results and HTTP responses contain it."""
        return {"model_type": self.model_type.value, "error_code": self.error_code}


@dataclass(frozen=True, slots=True)
class TurnCommand:
    """A turn to run: its owner, request, thread, model and time limit."""

    owner: str
    request: TurnRequest
    seconds: float
    thread_id: str | None = None
    conversation_id: str | None = None
    """The caller's name for a conversation, instead of a thread's id."""
    orchestrated: bool = False
    """Whether any configured model may answer; otherwise only Foundry does."""
    model_type: ModelType | None = None
    """The model that an orchestrated turn asks first; None for the domain's preferred model."""
    wait: float = 0.0
    """Seconds to wait for a thread that is in use."""
    mode: TurnMode = TurnMode.SYNC
    job_id: str | None = None
    caller: Caller = THE_APP
    claim: Claim | None = None
    """The claim on the request's idempotency key, held while the turn runs; sets the turn's id."""
    first_try: FirstTry | None = None
    """An earlier attempt of this turn, which may have sent the message before it failed."""
    received_at: float = field(default_factory=perf_counter)
    """When work on the turn began, by this machine's performance counter."""
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    """The models that were asked, filled in while an orchestrated turn runs."""


@dataclass(frozen=True, slots=True)
class RunningTurn:
    """A turn while a model answers it."""

    turn_id: str
    request: TurnRequest
    deadline: Deadline
    model_type: ModelType | None = None
    """The model to ask first; None for the domain's preferred model."""
    conversation: Conversation | None = None
    """None for a message without a thread."""
    terms: KeyTerms | None = None
    """What the caller's client key allows; None without one."""
    emit: Emit | None = None
    """Receives the events of a streamed turn."""
    ensure_held: BeforeSend = may_send
    """Raises if the lease may have been lost; awaited right before each request to a model."""
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    """The models that were asked so far; the same list as in the command."""


@dataclass(frozen=True, slots=True)
class TurnOpened:
    """The turn has its lease and will be sent now."""

    turn_id: str
    thread_id: str | None
    warnings: tuple[str, ...] = ()
    """Warnings about budgets that are nearly used up."""
    conversation_id: str | None = None
    """The caller's name for the conversation, if the request used it."""
    rests: tuple[Rest, ...] = ()
    """What is left of the budgets that the turn is paid from."""


@dataclass(frozen=True, slots=True)
class AnsweredTurn:
    """A turn that was answered."""

    opened: TurnOpened
    result: TurnResult
    attempts: tuple[Attempt, ...]
    """The models that were asked, in order; empty if the turn was not orchestrated."""
    seconds: float
    finished_at: datetime

    @property
    def turn_id(self) -> str:
        """The id of the turn."""
        return self.opened.turn_id

    @property
    def thread_id(self) -> str | None:
        """The id of the turn's thread, if it has one."""
        return self.opened.thread_id

    @property
    def source(self) -> ModelType:
        """The model that answered."""
        return self.attempts[-1].model_type if self.attempts else ModelType.FOUNDRY_AGENT_SERVICE

    @property
    def fallback_from(self) -> ModelType | None:
        """The model that was asked first, if another one answered."""
        return self.attempts[0].model_type if len(self.attempts) > 1 else None


Outcome = AnsweredTurn | FoundryError
"""How a turn ended."""

Progress = TurnOpened | TurnEvent | StillRunning | AnsweredTurn
"""What a streamed turn yields; an `AnsweredTurn` comes last."""

EmitProgress = Callable[[TurnOpened | TurnEvent], None]
"""Receives the events of a streamed turn."""

AlsoCommit = Callable[[Outcome, Row], Sequence[Change]]
"""Returns further changes for a turn's commit, from its outcome and the current row of its lane."""

Keep = Callable[[Outcome], Sequence[Change]]
"""Returns the changes that store the answer under the request's idempotency key; they are part of
the turn's commit."""


def keep_nothing(_: Outcome) -> Sequence[Change]:
    """The `Keep` of a request without an idempotency key."""
    return ()
