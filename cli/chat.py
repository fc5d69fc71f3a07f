"""`aos chat`: one message, what a pipe has, or a conversation; answers are printed as they come."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated

import typer

from .api import JsonObject, new_idempotency_key, part
from .commands import Session, command, new_app
from .errors import CommandError, InterruptedCommand, TryAgainError, UsageError
from .messages import MessageOptions, given_message
from .output import Format
from .problems import problem_error

PROMPT = "> "
CONVERSATION_WAIT_SECONDS = 100
"""In a conversation, the next message waits for a turn that still runs."""

app = new_app("Ask one message, what a pipe has, or in a conversation.")


@command(app, "chat")
def chat(
    session: Session,
    options: MessageOptions,
    message: Annotated[
        str | None, typer.Argument(help="The message. A pipe or file on standard input is added.")
    ] = None,
    thread: Annotated[
        str | None, typer.Option("--thread", "-t", metavar="ID", help="Continue this thread.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Start a thread, and print its id.")] = False,
    wait: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", min=0, max=100, help="Wait while the thread is busy."),
    ] = None,
) -> None:
    """Ask one message, what a pipe has, or in a conversation.

    The answer is printed as it comes. Without a message, a terminal starts a conversation. Ctrl-C
    stops the printing; the turn goes on. -o json prints the whole turn, -o jsonl its events.
    """
    body = options.body()
    text = given_message(message)
    if thread is not None and new:
        raise UsageError("give --thread or --new, not both")
    if text is None:
        _converse(session, thread, body, wait)
        return
    if not text:
        raise UsageError("there is no message")
    if new:
        thread = _new_thread(session)
    turn = _Turn(session, options.idempotency_key or new_idempotency_key(), thread)
    turn.send({**body, "message": text}, wait)


def _converse(session: Session, thread: str | None, body: JsonObject, wait: int | None) -> None:
    """Ask for one message after the other, until the end of the input."""
    if not sys.stdin.isatty():
        raise UsageError("there is no message", advice='Such as: aos chat "What is a leap year?"')
    with suppress(ImportError):  # Windows has none
        import readline  # noqa: F401  # pyright: ignore[reportUnusedImport] - edits what is typed

    thread = thread or _new_thread(session)
    session.output.note("Ctrl-D ends the conversation; Ctrl-C stops an answer.")
    while True:
        try:
            text = input(PROMPT).strip()
        except EOFError:
            session.output.note("")
            return
        if not text:
            continue
        turn = _Turn(session, new_idempotency_key(), thread)
        seconds = CONVERSATION_WAIT_SECONDS if wait is None else wait
        try:
            turn.send({**body, "message": text}, seconds)
        except InterruptedCommand as stopped:
            session.output.note(f"{stopped}. {stopped.advice}")
        except CommandError as error:
            session.output.note(f"error: {error}\n{error.advice}".rstrip())


def _new_thread(session: Session) -> str:
    thread = str(session.api.post("threads", {})["thread_id"])
    session.output.note(f"thread {thread}")
    return thread


@dataclass
class _Turn:
    """One turn, and how much of it is printed."""

    session: Session
    key: str
    thread: str | None
    printed: bool = field(default=False, init=False)

    def send(self, body: JsonObject, wait: int | None) -> None:
        """Send the message and print the answer.

        Raises:
            CommandError: The turn failed, or its end did not arrive.
            InterruptedCommand: Ctrl-C.
        """
        path = f"threads/{part(self.thread)}/messages" if self.thread else "messages"
        query = {"wait": wait} if self.thread and wait is not None else None
        try:
            for event in self.session.api.stream(path, body, key=self.key, query=query):
                if self._show(event.name, event.data):
                    return
        except KeyboardInterrupt:
            raise self._interrupted() from None
        finally:
            if self.printed:
                self.session.output.text("")
        raise TryAgainError("the answer broke off", advice=self._again)

    def _show(self, name: str, data: JsonObject) -> bool:
        """Print an event; returns whether it is the last one."""
        output = self.session.output
        if output.format is Format.JSONL:
            output.line({"event": name, "data": data})
        match name:
            case "message.delta" if self._prints_text:
                self._print(str(data.get("text", "")))
            case "tool.started" if output.is_table and output.err.isatty():
                output.note(f"[{data.get('name', 'a tool')}]")
            case "error":
                raise problem_error(data)
            case "turn.completed":
                self._complete(data)
                return True
            case _:
                pass
        return False

    @property
    def _prints_text(self) -> bool:
        """Text is for people and for pipes; JSON and its lines only where they are asked for."""
        asked = self.session.output.format
        return asked is Format.TABLE or asked is Format.CSV or self.session.is_default_format

    def _print(self, text: str) -> None:
        self.session.output.text(text, end="")
        self.printed = True

    def _complete(self, turn: JsonObject) -> None:
        if self._prints_text:
            if not self.printed:  # a replay has no deltas
                self._print(str(turn.get("content") or ""))
        elif self.session.output.format is Format.JSON:
            self.session.output.json(turn)

    def _interrupted(self) -> InterruptedCommand:
        where = f"aos threads messages {self.thread}" if self.thread else ""
        advice = f"Read the answer later: {where}" if where else self._again
        return InterruptedCommand("stopped printing; the turn goes on", advice=advice)

    @property
    def _again(self) -> str:
        return f"Run the same command with: --idempotency-key {self.key}"
