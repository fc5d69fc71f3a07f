"""What pydantic found wrong, in one line that shows no values."""

from __future__ import annotations

from pydantic import ValidationError

MAX_PROBLEMS = 5
"""What is said of a value from outside; the rest is as wrong, and may have no end."""


def explain(error: ValidationError, *, skip: int = 0) -> str:
    """The first problems as `field.path: reason`, less the first ``skip`` steps of the path."""
    problems: list[str] = []
    for detail in error.errors(include_url=False, include_input=False)[:MAX_PROBLEMS]:
        path = ".".join(str(step) for step in detail["loc"][skip:])
        problems.append(f"{path}: {detail['msg']}" if path else detail["msg"])
    return "; ".join(problems)
