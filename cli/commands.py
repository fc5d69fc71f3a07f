"""Declares commands: each gets the common options, and a session with the app."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer

from .api import Api
from .errors import InterruptedCommand, OutputClosedError
from .output import Format, Output
from .target import Chosen, Target

P = ParamSpec("P")
R = TypeVar("R")

_COMMON = "common options"
"""Where the common options are among the groups; no parameter has this name."""


@dataclass(frozen=True)
class Session:
    """What a command works with."""

    chosen: Chosen
    output: Output
    is_default_format: bool = True
    """Whether the format was chosen by the kind of output, and not by the user."""

    @cached_property
    def target(self) -> Target:
        """The app and the credential."""
        return Target.choose(self.chosen)

    @cached_property
    def api(self) -> Api:
        """The connection to the app."""
        return Api(self.target)

    def close(self) -> None:
        """Print what is buffered and close the connections."""
        if "api" in self.__dict__:
            self.api.close()
        sys.stdout.flush()


def new_app(summary: str) -> typer.Typer:
    """A group of commands, or a single one; plain help, and no values in tracebacks."""
    return typer.Typer(
        help=summary,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


@dataclass(frozen=True)
class CommonOptions:
    """The options that every command has."""

    output: Annotated[
        Format | None,
        typer.Option("--output", "-o", help="How to print; by default a table on a terminal."),
    ] = None
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="The profile to use, also AOS_PROFILE.")
    ] = None
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="The address of the app, also AOS_URL.")
    ] = None
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The key; others may see it here, so prefer AOS_KEY."),
    ] = None
    owner: Annotated[
        str | None, typer.Option(metavar="OWNER", help="For admins: act for this owner.")
    ] = None

    def session(self) -> Session:
        """The session that they describe."""
        chosen = Chosen(self.url, self.key, self.profile, self.owner)
        return Session(chosen, Output.choose(self.output), self.output is None)


def command(
    app: typer.Typer, name: str
) -> Callable[[Callable[Concatenate[Session, P], R]], Callable[Concatenate[Session, P], R]]:
    """Register a function as a command; its first parameter is the session.

    A parameter whose type is a dataclass is a group: each field is an option.
    """

    def register(
        function: Callable[Concatenate[Session, P], R],
    ) -> Callable[Concatenate[Session, P], R]:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        groups = {each.name: each.annotation for each in own if _is_group(each)}
        groups[_COMMON] = CommonOptions
        singles = [each for each in own if each.name not in groups]
        grouped = [each for group in groups.values() for each in _options(group)]

        def run(**given: Any) -> None:
            for group_name, group in groups.items():
                fields = {each.name: given.pop(each.name) for each in _options(group)}
                given[group_name] = group(**fields)
            _run(function, given.pop(_COMMON).session(), given)

        parameters = [each.replace(kind=each.KEYWORD_ONLY) for each in (*singles, *grouped)]
        run.__doc__ = function.__doc__
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
        app.command(name)(run)
        return function

    return register


def _is_group(parameter: inspect.Parameter) -> bool:
    return is_dataclass(parameter.annotation)


def _options(group: type[Any]) -> list[inspect.Parameter]:
    """The options of a group."""
    return list(inspect.signature(group, eval_str=True).parameters.values())


def _run(function: Callable[..., object], session: Session, given: dict[str, Any]) -> None:
    try:
        try:
            function(session, **given)
        finally:
            session.close()
    except KeyboardInterrupt:
        raise InterruptedCommand("interrupted") from None
    except BrokenPipeError:
        raise OutputClosedError("the reader of the output ended") from None
