"""`aos completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .commands import Session, command, new_app
from .main import COMPLETION_VARIABLE, SECTIONS, section

app = new_app("Print the script that completes commands in a shell.")


class Shell(StrEnum):
    """Shells that can complete commands."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


@command(app, "completion")
def completion(
    session: Session, shell: Annotated[Shell, typer.Argument(help="The shell to complete in.")]
) -> None:
    """Print the script that completes commands.

    For bash, add to ~/.bashrc: eval "$(aos completion bash)"
    """
    from typer.completion import (
        get_completion_script,  # pyright: ignore[reportPrivateImportUsage] - no other gives it
    )

    script = get_completion_script(
        prog_name="aos", complete_var=COMPLETION_VARIABLE, shell=shell.value
    )
    session.output.text(script)


def complete() -> None:
    """Answer the question of a shell, which is in the environment."""
    from typer.completion import get_completion_inspect_parameters

    get_completion_inspect_parameters()  # registers the shells
    root = new_app("")
    for name in SECTIONS:
        commands = section(name)
        names = [each.name for each in commands.registered_commands]
        if names == [name]:
            root.registered_commands += commands.registered_commands
        else:
            root.add_typer(commands, name=name)
    root(prog_name="aos")
