"""The triggers of function_app.py, read from its source: importing it would connect the app."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from local.host.timers import parse_schedule

from .project import ROOT


@dataclass(frozen=True)
class Trigger:
    """A function with its trigger's decorator."""

    function: str
    decorator: ast.Call
    constants: dict[str, str]
    """The texts that the module gives names to."""

    @property
    def kind(self) -> str:
        """The decorator's name, such as `queue_trigger`."""
        return ast.unparse(self.decorator.func).rpartition(".")[2]

    @property
    def source(self) -> str:
        """The decorator as it is written."""
        return ast.unparse(self.decorator)

    def interval(self) -> timedelta:
        """How long a timer's first pause is."""
        schedule = self.decorator.args[1]
        text = ast.unparse(schedule)
        text = schedule.value if isinstance(schedule, ast.Constant) else self.constants[text]
        first = parse_schedule(str(text), {}).next_after(datetime.now(UTC))
        return parse_schedule(str(text), {}).next_after(first) - first


def read_triggers(kind: str) -> list[Trigger]:
    """The functions with a trigger of one kind."""
    module = ast.parse((ROOT / "function_app.py").read_text())
    constants = {
        ast.unparse(node.targets[0]): str(node.value.value)
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    triggers = [
        Trigger(node.name, decorator, constants)
        for node in module.body
        if isinstance(node, ast.AsyncFunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
    ]
    return [trigger for trigger in triggers if trigger.kind == kind]
