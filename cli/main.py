"""`aos`: finds the command, runs it, and turns its errors into messages and exit codes.

Only the module of the command that runs is imported, and none for the list of commands.
"""

from __future__ import annotations

import importlib
import os
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

from .errors import CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer

SECTIONS = {
    "chat": ("chat:app", "Ask one message, a file, or in a conversation"),
    "threads": ("threads:app", "List, show, create, change and delete threads"),
    "jobs": ("jobs:app", "Submit jobs, watch them, and read their results"),
    "usage": ("usage:app", "Show tokens, turns and cost, also as a plot or CSV"),
    "budgets": ("budgets:app", "Show what is left of your budgets, and when they reset"),
    "audit": ("audit:app", "Follow or export the audit trail"),
    "models": ("catalogue:models", "List the models that can be asked, and their prices"),
    "tools": ("catalogue:tools", "List the tools that a message may name"),
    "keys": ("keys:app", "Create, list and revoke client keys, as an admin"),
    "whoami": ("account:whoami", "Show who you are, and which app this is"),
    "login": ("account:login", "Store the address and the key of an app"),
    "logout": ("account:logout", "Forget the key of an app"),
    "connect": ("connect:app", "Configure an OpenAI client, such as Codex, for the app"),
    "mcp": ("connect:mcp", "Add the app to an editor or agent as an MCP server"),
    "doctor": ("doctor:app", "Find out what does not work, and how to fix it"),
    "completion": ("completion:app", "Print the script that completes commands in a shell"),
}
"""The commands: where each is declared, and what it does."""

USAGE = "usage: aos COMMAND [ARGUMENTS]"
COMPLETION_VARIABLE = "_AOS_COMPLETE"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):  # text may have what the terminal's encoding lacks
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        return _dispatch(given)
    except BrokenPipeError:
        return _output_closed()
    except CommandError as error:
        return _failed(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the border; values could be secret
        return _fault(error)


def _open_missing_streams() -> None:
    """Python has None for a standard stream that was closed before it started."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def section(name: str) -> typer.Typer:
    """The commands of a section."""
    module, _, variable = SECTIONS[name][0].partition(":")
    return getattr(importlib.import_module(f".{module}", __package__), variable)


def help_text() -> str:
    """What `aos --help` prints."""
    width = max(map(len, SECTIONS))
    rows = [f"  {name:<{width}}  {summary}" for name, (_, summary) in SECTIONS.items()]
    title = "The command line of Agent Operating System: agents, threads, jobs, usage and cost."
    more = "`aos COMMAND --help` shows the arguments of a command. Exit codes: docs/cli.md"
    return "\n".join([USAGE, "", title, "", "commands:", *rows, "", more, ""])


def _dispatch(arguments: list[str]) -> int:
    if COMPLETION_VARIABLE in os.environ:
        from .completion import complete

        complete()
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        sys.stdout.write(help_text())
        sys.stdout.flush()
        return ExitCode.OK if arguments else ExitCode.USAGE
    name, *rest = arguments
    if name == "--version":
        sys.stdout.write(f"aos {_version()}\n")
        return ExitCode.OK
    if name not in SECTIONS:
        return _unknown(name)
    return _run(name, rest)


def _run(name: str, arguments: list[str]) -> int:
    """Run a command through typer, which parses its arguments."""
    app = section(name)
    import typer

    try:
        code = app(args=arguments, prog_name=f"aos {name}", standalone_mode=False)
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except typer.TyperException as error:
        return _misused(f"aos {name}", error)
    sys.stdout.flush()
    return code if isinstance(code, int) else ExitCode.OK


def _misused(name: str, error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    if context is not None and type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{context.get_help()}\n")
        return ExitCode.USAGE
    name = getattr(context, "command_path", name)
    sys.stderr.write(f"error: {error.format_message()}\nsee: {name} --help\n")
    return ExitCode.USAGE


def _unknown(name: str) -> int:
    from difflib import get_close_matches

    from .terminal_text import one_line

    near = get_close_matches(name, SECTIONS, 1)
    advice = f"aos {near[0]}" if near else "aos --help"
    sys.stderr.write(f"error: there is no command {one_line(name)}\nsee: {advice}\n")
    return ExitCode.USAGE


def _failed(error: CommandError) -> int:
    if error.exit_code is ExitCode.OUTPUT_CLOSED:
        return _output_closed()
    advice = f"{error.advice}\n" if error.advice else ""
    _report(f"error: {error}\n{advice}")
    return error.exit_code


def _fault(error: Exception) -> int:
    """Report a fault of this program by its place, without values."""
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno}"  # noqa: PTH119 - no import
    _report(f"error: a fault in aos: {type(error).__name__} in {place}\n")
    return ExitCode.FAILED


def _report(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BrokenPipeError:
        _output_closed()


def _output_closed() -> int:
    """Let the interpreter flush its output into nothing when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(null, stream.fileno())
    return ExitCode.OUTPUT_CLOSED


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("agent-operating-system-foundry")
    except PackageNotFoundError:
        return "of this checkout"
