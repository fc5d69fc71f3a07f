"""What a turn is made of: the command to run it, the running turn, and the answered turn."""

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
        """As results and HTTP answers show it."""
        return {"model_type": self.model_type.value, "error_code": self.error_code}


@dataclass(frozen=True, slots=True)
class TurnCommand:
    """A turn to run: for whom, what, on which thread, by which model, and how long it may take."""

    owner: str
    request: TurnRequest
    seconds: float
    thread_id: str | None = None
    conversation_id: str | None = None
    """The caller's own name of a conversation, in place of a thread's id."""
    orchestrated: bool = False
    """Any configured model may answer, not Foundry alone."""
    model_type: ModelType | None = None
    """The model that an orchestrated turn asks first; None for the one preferred for the domain."""
    wait: float = 0.0
    """Seconds to wait for a thread that is in use."""
    mode: TurnMode = TurnMode.SYNC
    job_id: str | None = None
    caller: Caller = THE_APP
    claim: Claim | None = None
    """The idempotency key of the request, held while the turn runs; it names the turn."""
    first_try: FirstTry | None = None
    """An earlier attempt, which may have sent the message before its process died or gave up."""
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
    """The model to ask first; None for the one preferred for the domain."""
    conversation: Conversation | None = None
    """None for a message without a thread."""
    emit: Emit | None = None
    """Takes the events of a streamed turn."""
    ensure_held: BeforeSend = may_send
    """Raises if the lease may have been lost; awaited right before each request to a model."""
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    """The models that were asked so far, those of the command."""


@dataclass(frozen=True, slots=True)
class TurnOpened:
    """The turn has its lease and will be sent now."""

    turn_id: str
    thread_id: str | None
    warnings: tuple[str, ...] = ()
    """Of budgets that are nearly used up."""
    conversation_id: str | None = None
    """The caller's own name of the conversation, where the turn was asked for by it."""


@dataclass(frozen=True, slots=True)
class AnsweredTurn:
    """A turn that was answered."""

    opened: TurnOpened
    result: TurnResult
    attempts: tuple[Attempt, ...]
    """The models that were asked, in order; empty where the turn was Foundry's alone."""
    seconds: float
    finished_at: datetime

    @property
    def turn_id(self) -> str:
        """The id of the turn."""
        return self.opened.turn_id

    @property
    def thread_id(self) -> str | None:
        """The thread it is on, if any."""
        return self.opened.thread_id

    @property
    def source(self) -> ModelType:
        """The model that answered."""
        return self.attempts[-1].model_type if self.attempts else ModelType.FOUNDRY_AGENT_SERVICE

    @property
    def fallback_from(self) -> ModelType | None:
        """The model that should have answered, if another one had to."""
        return self.attempts[0].model_type if len(self.attempts) > 1 else None


Outcome = AnsweredTurn | FoundryError
"""How a turn ended."""

Progress = TurnOpened | TurnEvent | StillRunning | AnsweredTurn
"""What a streamed turn yields; an `AnsweredTurn` comes last."""

EmitProgress = Callable[[TurnOpened | TurnEvent], None]
"""Takes what happens while a streamed turn runs."""

AlsoCommit = Callable[[Outcome, Row], Sequence[Change]]
"""What else to write together with a turn, given how it ended and its lane's row by then."""

Keep = Callable[[Outcome], Sequence[Change]]
"""What keeps the answer to a request, to be written together with its turn."""


def keep_nothing(_: Outcome) -> Sequence[Change]:
    """The `Keep` of a request without an idempotency key."""
    return ()
