"""`aos threads`: conversations with a history."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .api import part
from .commands import Session, command, new_app
from .errors import UsageError
from .listing import Limit
from .messages import Pairs, pairs
from .output import Format, at, moment

app = new_app("List, show, create, change and delete threads.")

COLUMNS = (
    at("thread_id"),
    at("message_count", "messages"),
    at("total_tokens", "tokens"),
    moment("last_accessed"),
    moment("expires_at"),
    at("metadata"),
)
MESSAGE_COLUMNS = (moment("created_at"), at("role"), at("content"))

ThreadId = Annotated[str, typer.Argument(metavar="THREAD", help="The id of a thread.")]


@command(app, "ls")
def ls(session: Session, limit: Limit = 50, metadata: Pairs = None) -> None:
    """List your threads, newest first."""
    filters = {f"metadata.{name}": value for name, value in pairs(metadata).items()}
    session.output.items(session.api.pages("threads", filters, limit), COLUMNS)


@command(app, "show")
def show(session: Session, thread: ThreadId) -> None:
    """Show a thread."""
    session.output.document(session.api.get(f"threads/{part(thread)}"), COLUMNS)


@command(app, "messages")
def messages(session: Session, thread: ThreadId, limit: Limit = 50) -> None:
    """Print the latest messages of a thread, oldest of them first."""
    found = list(session.api.pages(f"threads/{part(thread)}/messages", None, limit))
    output = session.output
    if not output.is_table:
        output.items(found[::-1], MESSAGE_COLUMNS)
        return
    for message in found[::-1]:
        output.say(f"{message.get('role')}:")
        output.text(f"{message.get('content') or ''}\n")


@command(app, "new")
def new(
    session: Session,
    metadata: Pairs = None,
    expires_in: Annotated[
        int | None, typer.Option(metavar="SECONDS", min=1, help="Delete it after this time.")
    ] = None,
) -> None:
    """Create a thread."""
    body = {"metadata": pairs(metadata), "expires_in": expires_in}
    session.output.document(session.api.post("threads", body), COLUMNS)


@command(app, "set")
def change(
    session: Session,
    thread: ThreadId,
    metadata: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE...", help="Pairs; NAME= removes one.")
    ],
) -> None:
    """Change the metadata of a thread."""
    merged = {name: value or None for name, value in pairs(metadata).items()}
    answer = session.api.request("PATCH", f"threads/{part(thread)}", body={"metadata": merged})
    session.output.document(answer.json(), COLUMNS)


@command(app, "rm")
def remove(
    session: Session,
    thread: ThreadId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a thread and all that belongs to it, here and in Foundry."""
    confirm(f"delete {thread} and all its messages?", yes=yes)
    answer = session.api.request("DELETE", f"threads/{part(thread)}")
    state = "is being deleted" if answer.status_code == 202 else "is deleted"
    if session.output.is_table:
        session.output.say(f"{thread} {state}")
    else:
        session.output.document(
            {"thread_id": thread, "state": state}, (at("thread_id"), at("state"))
        )


@command(app, "export")
def export(session: Session, thread: ThreadId) -> None:
    """Print all messages of a thread as JSON lines, oldest first."""
    found = list(session.api.pages(f"threads/{part(thread)}/messages", None, sys.maxsize))
    for message in found[::-1]:
        if session.output.format is Format.TABLE:
            session.output.line(message)
    if session.output.format is not Format.TABLE:
        session.output.items(found[::-1], MESSAGE_COLUMNS)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone.

    Raises:
        UsageError: The answer is no, or there is no terminal to ask on.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("this cannot be undone", advice="To do it without being asked, add: --yes")
    if not typer.confirm(question, err=True):
        raise UsageError("nothing was done")
