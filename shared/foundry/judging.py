"""Checks answers against a caller's schema; a slow schema delays no other request.

The library is quick, but it holds the interpreter's lock, so neither a thread nor a time limit
can interrupt it. What cannot take more than a few milliseconds by `schemas.cost` is judged at once;
the rest in a process of its own, which has a limit of time and memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..text import parse_json, to_json_bytes
from .schemas import Cost, SchemaError, canonical, cost
from .wire_json import JsonObject

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

MAX_ANSWER_CHARS = 1024 * 1024
"""Of an answer that must follow a schema; no model writes more."""

CACHED_SCHEMAS = 32
"""A compiled schema with the most patterns allowed takes about 2 MB."""

REGEX_BYTES = {"size_limit": 256 * 1024, "dfa_size_limit": 256 * 1024}
"""Of one compiled pattern: `^.{1,200}$` takes as much. 20 of that size compile in 35 ms."""

LIGHT_VISITS = 50_000
"""At about 15 ns each, a millisecond."""

LIGHT_PATTERN_CHARS = 1_000
"""At up to 50 us each, which only patterns made for it take; usual ones take some ns."""

LIGHT_REASON_VISITS = 4_000
"""Each alternative that does not fit costs 13 us and 1.5 KB in the error that says why."""

PROCESS_SECONDS = 5.0
"""For a process that judges; of these it may compute for two."""

PROCESSES = 2
"""Processes that judge at once."""

MAX_REASON_CHARS = 300

_PROGRAM = str(Path(__file__).with_name("judge_process.py"))


class MismatchError(ValueError):
    """An answer does not follow its schema; the text says why, and quotes no value of it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an answer was judged."""

    valid: bool
    reason: str = "it does not follow the schema"


@dataclass(frozen=True, slots=True)
class Schema:
    """A JSON schema within bounds, which `ready` compiles; equal ones are compiled once."""

    text: str
    """In its canonical form."""
    cost: Cost

    @classmethod
    def of(cls, schema: JsonObject) -> Schema:
        """Check a schema against the bounds, without compiling it.

        Raises:
            SchemaError: naming the bound that it is beyond.
        """
        return cls(canonical(schema), cost(schema))

    def ready(self) -> None:
        """Compile it, which takes up to about 40 ms.

        Raises:
            SchemaError: saying why it is no schema.
        """
        _compiled(self.text)

    def is_light_for(self, answer: str) -> bool:
        """Whether an answer can be checked at once, without another process."""
        visits = self.cost.visits * _values(answer)
        return visits <= LIGHT_VISITS and self.cost.patterns * len(answer) <= LIGHT_PATTERN_CHARS

    def read(self, answer: str) -> Any:
        """The JSON value that an answer is.

        Raises:
            MismatchError: if it is none, or does not follow the schema.
        """
        if len(answer) > MAX_ANSWER_CHARS:
            raise MismatchError(f"it has more than {MAX_ANSWER_CHARS} characters")
        try:
            value = parse_json(answer)
        except ValueError as error:
            raise MismatchError(f"it is not JSON ({error}); it may have been cut short") from None
        judge = self._judge if self.is_light_for(answer) else self._judge_apart
        verdict = judge(answer, value)
        if not verdict.valid:
            raise MismatchError(verdict.reason)
        return value

    def _judge(self, answer: str, value: Any) -> Verdict:
        validator = _compiled(self.text)
        try:
            if validator.is_valid(value):
                return Verdict(valid=True)
        except ValueError as error:  # a number of thousands of digits
            return Verdict(valid=False, reason=str(error)[:MAX_REASON_CHARS])
        many = self.cost.recursive or self.cost.visits * _values(answer) > LIGHT_REASON_VISITS
        if self.cost.branches and many:
            return Verdict(valid=False)
        return Verdict(valid=False, reason=_first_problem(validator, value))

    def _judge_apart(self, _: str, value: Any) -> Verdict:
        schema = json.loads(self.text)
        asked = {"path": sys.path, "regex": REGEX_BYTES, "schema": schema, "answer": value}
        command = [sys.executable, "-I", _PROGRAM]
        try:
            output = subprocess.run(  # noqa: S603 - our own program
                command,
                input=to_json_bytes(asked),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=PROCESS_SECONDS,
                check=False,
            ).stdout
        except subprocess.TimeoutExpired as late:
            output = late.stdout or b""
        return _verdict(output.decode(errors="replace").splitlines())


@cache
def judges() -> ThreadPoolExecutor:
    """The threads that wait for processes that judge."""
    return ThreadPoolExecutor(PROCESSES, thread_name_prefix="judge")


@lru_cache(CACHED_SCHEMAS)
def _compiled(text: str) -> Draft202012Validator:
    """A validator that is safe with untrusted schemas: no retrieval, regexes in linear time."""
    from jsonschema_rs import Draft202012Validator, RegexOptions
    from jsonschema_rs import ValidationError as InvalidSchemaError

    try:
        options = RegexOptions(**REGEX_BYTES)
        schema = json.loads(text)
        return Draft202012Validator(schema, offline=True, pattern_options=options, mask="the value")
    except InvalidSchemaError as error:
        raise SchemaError(_problem(error.instance_path, error.message)) from None
    except ValueError as error:
        raise SchemaError(str(error)[:MAX_REASON_CHARS]) from None


def _values(answer: str) -> int:
    """The most values that JSON text can hold."""
    return 1 + sum(answer.count(sign) for sign in ",[{:")


def _first_problem(validator: Draft202012Validator, value: Any) -> str:
    from jsonschema_rs import ValidationError as InvalidValueError

    try:
        validator.validate(value)
    except InvalidValueError as error:
        return _problem(error.instance_path, error.message)
    raise AssertionError("unreachable: it was judged invalid")


def _problem(path: Iterable[str | int], message: str) -> str:
    where = ".".join(map(str, path))
    return (f"{where}: {message}" if where else message)[:MAX_REASON_CHARS]


def _verdict(lines: list[str]) -> Verdict:
    """The output of a process that has ended or was stopped."""
    match lines:
        case ["valid", *_]:
            return Verdict(valid=True)
        case ["invalid", problem, *_]:
            return Verdict(valid=False, reason=_problem(*json.loads(problem)))
        case ["invalid"]:
            return Verdict(valid=False)
        case _:
            return Verdict(valid=False, reason="judging it by this schema takes too long")
