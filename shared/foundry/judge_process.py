"""Checks one answer in a process of its own, which can be stopped; started by `judging`.

Input, as JSON on standard input: `path` (to find the library), `regex` (limits), `schema` and
`answer`. Output, one per line: `valid` or `invalid`; then, if there is time to find it, the first
problem as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import Any

CPU_SECONDS = 2
MEMORY_BYTES = 512 * 1024 * 1024
NICENESS = 10


def main() -> None:
    """Check the answer on standard input."""
    _limit()
    asked: dict[str, Any] = json.load(sys.stdin.buffer)
    sys.path[:] = asked["path"]
    from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

    options = RegexOptions(**asked["regex"])
    schema, answer = asked["schema"], asked["answer"]
    validator = Draft202012Validator(
        schema, offline=True, pattern_options=options, mask="the value"
    )
    if validator.is_valid(answer):
        _say("valid")
        return
    _say("invalid")
    try:
        validator.validate(answer)
    except ValidationError as error:
        _say(json.dumps([error.instance_path, error.message]))


def _limit() -> None:
    """Limit memory and CPU time; the system, if it supports that, stops a process beyond them."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.nice(NICENESS)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
