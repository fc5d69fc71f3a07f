"""What pydantic found wrong, in one line that shows no values."""

from __future__ import annotations

from pydantic import ValidationError


def explain(error: ValidationError, *, skip: int = 0) -> str:
    """Each problem as `field.path: reason`, less the first ``skip`` steps of the path."""
    problems: list[str] = []
    for detail in error.errors(include_url=False, include_input=False):
        path = ".".join(str(step) for step in detail["loc"][skip:])
        problems.append(f"{path}: {detail['msg']}" if path else detail["msg"])
    return "; ".join(problems)
