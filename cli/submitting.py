"""Submits the lines of a file as jobs, each exactly once however often the command is run.

The idempotency key of a line is derived from the file's path, the name of the run, the job that the
line describes, and how many equal lines stand before it. So a line that was submitted before is
answered with its job, also after lines were inserted or appended.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import cast

from .api import Api, JsonObject
from .errors import CommandError, ExitCode, TryAgainError, UsageError

AT_ONCE = 16
"""Requests in flight. The app answers more, but not faster."""

WINDOW = 4 * AT_ONCE
"""Lines that are read ahead of the oldest one without an answer."""

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
MAX_LINE_BYTES = 1_100_000

LINE = "aos_line"
"""Name of the metadata that says which line a job is: `<submission>:<name of the line>`."""

STOPPING_CODES = {"unauthorized", "forbidden", "budget_exhausted"}
"""Codes with which the next lines would be refused too."""

_JSON_LINES = {".jsonl", ".ndjson"}


@dataclass(frozen=True)
class Line:
    """A line of a file, and the job it describes."""

    number: int
    body: JsonObject
    key: str


@dataclass(frozen=True)
class Submitted:
    """What the app answered to a line."""

    line: Line
    job: JsonObject | None = None
    is_replay: bool = False
    """Whether the line had been submitted before."""
    refusal: CommandError | None = None

    def receipt(self) -> JsonObject:
        """The line's result for programs."""
        if self.refusal is not None:
            refusal = self.refusal
            return {"line": self.line.number, "error": refusal.detail, "code": refusal.code}
        job = self.job or {}
        return {"line": self.line.number, "job_id": job.get("job_id"), "again": self.is_replay}


@dataclass(frozen=True)
class JobFile:
    """A file with one job a line: JSON objects in `.jsonl` and `.ndjson`, else messages."""

    path: Path
    run: str = ""
    """Another name submits the same lines again, as new jobs."""

    @property
    def submission(self) -> str:
        """The id that the metadata of all jobs of the file has."""
        return sha256(f"{self.path.resolve()}\n{self.run}".encode()).hexdigest()[:12]

    def lines(self, options: Mapping[str, object]) -> Iterator[Line]:
        """The jobs of the file; empty lines are none.

        Raises:
            UsageError: The file cannot be read, or a line is no job.
        """
        for number, name, own in self._named():
            label = f"{self.submission}:{name}"
            body = {**options, **own}
            key = sha256(f"{label}\n{json.dumps(body, sort_keys=True)}".encode()).hexdigest()
            yield Line(number, _labelled(body, label), f"aos-{key[:48]}")

    def line_of(self, job: JsonObject) -> int | None:
        """The number of the line that a job was submitted for, if it is in this file."""
        label = str(cast(JsonObject, job.get("metadata") or {}).get(LINE, ""))
        submission, _, name = label.partition(":")
        return self._numbers.get(name) if submission == self.submission else None

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name, _ in self._named()}

    def _named(self) -> Iterator[tuple[int, str, JsonObject]]:
        """Each line with a name that stays when other lines are added."""
        seen: Counter[bytes] = Counter()
        for number, text in self._texts():
            body = self._body(number, text)
            digest = sha256(json.dumps(body, sort_keys=True).encode()).digest()
            seen[digest] += 1
            yield number, sha256(f"{seen[digest]}\n".encode() + digest).hexdigest()[:16], body

    def _texts(self) -> Iterator[tuple[int, str]]:
        try:
            with self.path.open("rb") as file:
                number = 0
                while content := file.readline(MAX_LINE_BYTES + 1):
                    number += 1
                    if text := self._text(number, content):
                        yield number, text
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {error.strerror}") from None

    def _text(self, number: int, content: bytes) -> str:
        if len(content) > MAX_LINE_BYTES:
            raise self._error(number, f"is longer than {MAX_LINE_BYTES:,} bytes")
        try:
            return content.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise self._error(number, "is not UTF-8") from None

    def _body(self, number: int, text: str) -> JsonObject:
        if self.path.suffix.lower() not in _JSON_LINES:
            return {"message": text}
        try:
            body: object = json.loads(text)
        except (ValueError, RecursionError):
            raise self._error(number, "is not JSON") from None
        if isinstance(body, str):
            return {"message": body}
        if not isinstance(body, dict):
            raise self._error(number, "is not a JSON object")
        return cast(JsonObject, body)

    def _error(self, number: int, reason: str) -> UsageError:
        return UsageError(f"{self.path}: line {number} {reason}")


def _labelled(body: JsonObject, label: str) -> JsonObject:
    metadata: object = body.get("metadata") or {}
    if not isinstance(metadata, dict):  # the app says what is wrong with it
        return body
    return {**body, "metadata": {**cast(JsonObject, metadata), LINE: label}}


def submit_all(api: Api, lines: Iterator[Line]) -> Iterator[Submitted]:
    """Submit lines, several at once; yields the answers in the order of the lines.

    Raises:
        CommandError: The next lines would fail too: no connection, no rights, no budget.
    """
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="submit")
    waiting: deque[Future[Submitted]] = deque()
    stopping = Event()
    try:
        for line in lines:
            if len(waiting) == WINDOW:
                yield waiting.popleft().result()
            waiting.append(pool.submit(_submit, api, line, stopping))
        while waiting:
            yield waiting.popleft().result()
    finally:
        stopping.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _submit(api: Api, line: Line, stopping: Event) -> Submitted:
    for attempt in range(ATTEMPTS):
        try:
            answer = api.request("POST", "jobs", body=line.body, key=line.key)
        except TryAgainError as error:
            pause = error.retry_after or FIRST_PAUSE_SECONDS * 2**attempt
            if attempt == ATTEMPTS - 1 or stopping.wait(min(pause, LONGEST_PAUSE_SECONDS)):
                raise
        except CommandError as error:
            if error.code in STOPPING_CODES or error.exit_code is ExitCode.NOT_FOUND:
                raise
            return Submitted(line, refusal=error)
        else:
            is_replay = answer.headers.get("idempotency-replayed") == "true"
            return Submitted(line, job=answer.json(), is_replay=is_replay)
    raise AssertionError("unreachable")  # pragma: no cover
