"""`aos jobs`: messages that are answered later."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from .api import Api, JsonObject, part
from .commands import Session, command, new_app
from .errors import CommandError, InterruptedCommand, UsageError
from .listing import Limit
from .messages import MessageOptions, Pairs, given_message, pairs
from .output import Column, at, moment
from .problems import problem_error
from .submitting import JobFile, Submitted, submit_all

app = new_app("Submit jobs, watch them, and read their results.")

TERMINAL = {"succeeded", "failed", "cancelled", "expired"}
WAIT_SECONDS = 30
"""How long one request waits for the end of a job."""

MANY = 1_000_000

Advance = Callable[[], object]


def _progress(job: JsonObject) -> object:
    progress = cast(JsonObject, job.get("progress") or {})
    return f"{progress.get('done', 0)}/{progress.get('total', 0)}"


COLUMNS = (
    at("job_id"),
    at("status"),
    Column("done", _progress),
    moment("created_at"),
    moment("finished_at"),
    at("problem.code", "problem"),
)
DETAILS = (
    *COLUMNS,
    at("thread_id"),
    at("attempts"),
    at("problem.detail", "reason"),
    at("delivery"),
    at("metadata"),
    at("result.content", "answer"),
)
RESULT_COLUMNS = (at("job_id"), at("line"), at("status"), at("content"), at("problem"))
RECEIPT_COLUMNS = (at("line"), at("job_id"), at("again"), at("error"), at("code"))

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")]
JobIds = Annotated[list[str] | None, typer.Argument(metavar="JOB...", help="Ids of jobs.")]


@dataclass(frozen=True)
class FileOptions:
    """A file of jobs."""

    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="A file of which each line is a job."),
    ] = None
    run: Annotated[
        str, typer.Option(metavar="NAME", help="Another submission of the same file.")
    ] = ""

    @property
    def source(self) -> JobFile | None:
        """The file, if one is given."""
        return JobFile(self.file, self.run) if self.file else None


@dataclass(frozen=True)
class JobOptions:
    """The options of a job beside those of its message."""

    thread: Annotated[
        str | None, typer.Option("--thread", "-t", metavar="ID", help="Run on this thread.")
    ] = None
    not_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Such as 2027-01-01T09:00:00Z.")
    ] = None
    metadata: Pairs = None
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all have ended.")] = False

    def body(self) -> JsonObject:
        """The members of a body that they give."""
        metadata = pairs(self.metadata) or None
        body = {"thread_id": self.thread, "not_before": self.not_before, "metadata": metadata}
        return {name: value for name, value in body.items() if value is not None}


@command(app, "submit")
def submit(
    session: Session,
    files: FileOptions,
    job_options: JobOptions,
    options: MessageOptions,
    message: Annotated[
        str | None, typer.Argument(help="The message. A pipe or file on standard input is added.")
    ] = None,
) -> None:
    """Submit a message, or each line of a file, as a job.

    A line is a message; in .jsonl and .ndjson it is a JSON object with the fields of POST
    /api/jobs, or a string. If the command is interrupted, run it again within 24 hours: no line is
    submitted twice. With -o jsonl it prints the job of each line.
    """
    body = {**options.body(), **job_options.body()}
    if source := files.source:
        if message is not None or options.idempotency_key is not None:
            raise UsageError("with --file, give no message and no --idempotency-key")
        _submit_file(session, source, body, wait=job_options.wait)
        return
    text = given_message(message)
    if not text:
        raise UsageError("give a message, or --file")
    job = session.api.post("jobs", {**body, "message": text}, key=options.idempotency_key)
    if not job_options.wait:
        session.output.document(job, COLUMNS)
        return
    job = _ended(session.api, job)
    session.output.document(job, DETAILS)
    _check([job])


@command(app, "ls")
def ls(
    session: Session,
    limit: Limit = 50,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only queued, running, failed, ...")
    ] = None,
) -> None:
    """List your jobs, newest first."""
    session.output.items(session.api.pages("jobs", {"status": status}, limit), COLUMNS)


@command(app, "show")
def show(session: Session, job: JobId) -> None:
    """Show a job."""
    session.output.document(session.api.get(f"jobs/{part(job)}"), DETAILS)


@command(app, "watch")
def watch(session: Session, jobs: Annotated[list[str], typer.Argument(metavar="JOB...")]) -> None:
    """Wait until jobs have ended; fails if one did not succeed."""
    ended: list[JsonObject] = []
    with _progress_bar(session, "jobs", len(jobs)) as advance:
        for job_id in jobs:
            ended.append(_ended(session.api, {"job_id": job_id}))
            advance()
    session.output.items(ended, COLUMNS)
    _check(ended)


@command(app, "cancel")
def cancel(session: Session, job: JobId) -> None:
    """Cancel a job that has not ended."""
    session.output.document(session.api.post(f"jobs/{part(job)}/cancel", {}), COLUMNS)


@command(app, "retry")
def retry(session: Session, files: FileOptions, jobs: JobIds = None) -> None:
    """Submit jobs that did not succeed again, as new jobs; each once, however often this is run.

    With --file, all failed jobs that were submitted from the file.
    """
    source = files.source
    if (source is None) == (not jobs):
        raise UsageError("give jobs or --file")
    ids = jobs or []
    if source is not None:
        failed = session.api.pages("jobs", {"status": "failed"}, MANY)
        ids = [str(job["job_id"]) for job in failed if source.line_of(job) is not None]
    session.output.items([_again(session.api, job_id) for job_id in ids], COLUMNS)


@command(app, "results")
def results(session: Session, files: FileOptions, jobs: JobIds = None) -> None:
    """Print the answers of jobs, or of all jobs of a file in the order of its lines."""
    source = files.source
    if (source is None) == (not jobs):
        raise UsageError("give jobs or --file")
    if source is None:
        _show_results(session, [_result(session.api.get(f"jobs/{part(j)}")) for j in jobs or ()])
        return
    found = ((source.line_of(job), job) for job in session.api.pages("jobs", None, MANY))
    of_file = [(line, job) for line, job in found if line is not None]
    rows = [_result(job, line) for line, job in sorted(of_file, key=lambda pair: pair[0])]
    _show_results(session, rows)


def _submit_file(session: Session, file: JobFile, options: JsonObject, *, wait: bool) -> None:
    total = sum(1 for _ in file.lines(options))  # a line that is no job is found before any is sent
    counts = {"new": 0, "again": 0, "refused": 0}
    jobs: list[JsonObject] = []
    try:
        with _progress_bar(session, "submitted", total) as advance:
            done = _counted(submit_all(session.api, file.lines(options)), counts, advance)
            if session.output.is_table:
                jobs = [each.job for each in done if each.job is not None]
            else:
                jobs = _print_receipts(session, done)
    except (CommandError, KeyboardInterrupt) as error:
        raise _broken_off(error, counts, total) from None
    session.output.note(_summary(counts, total))
    if wait:
        _wait_for(session, jobs)
    if counts["refused"]:
        raise CommandError(f"{counts['refused']} lines were refused")


def _counted(
    done: Iterable[Submitted], counts: dict[str, int], advance: Advance
) -> Iterator[Submitted]:
    for each in done:
        kind = "refused" if each.refusal else "again" if each.is_replay else "new"
        counts[kind] += 1
        advance()
        yield each


def _print_receipts(session: Session, done: Iterable[Submitted]) -> list[JsonObject]:
    jobs: list[JsonObject] = []

    def receipts() -> Iterator[JsonObject]:
        for each in done:
            if each.job is not None:
                jobs.append({"job_id": each.job["job_id"]})
            yield each.receipt()

    session.output.items(receipts(), RECEIPT_COLUMNS)
    return jobs


def _summary(counts: dict[str, int], total: int) -> str:
    parts = [f"{total} lines: {counts['new']} submitted"]
    if counts["again"]:
        parts.append(f"{counts['again']} had been submitted before (--run NAME submits them anew)")
    if counts["refused"]:
        parts.append(f"{counts['refused']} refused")
    return ", ".join(parts)


def _broken_off(
    error: CommandError | KeyboardInterrupt, counts: dict[str, int], total: int
) -> CommandError:
    """The error of a submission that did not reach the end of the file."""
    done = sum(counts.values())
    advice = "Run the same command again: no line is submitted twice"
    if isinstance(error, KeyboardInterrupt):
        return InterruptedCommand(f"stopped after {done} of {total} lines", advice=advice)
    error.detail = f"stopped after {done} of {total} lines: {error.detail}"
    error.advice = f"{error.advice}\n{advice}".strip()
    return error


def _wait_for(session: Session, jobs: list[JsonObject]) -> None:
    ended: list[JsonObject] = []
    with _progress_bar(session, "ended", len(jobs)) as advance:
        for job in jobs:
            ended.append(_ended(session.api, job))
            advance()
    _check(ended)


def _ended(api: Api, job: JsonObject) -> JsonObject:
    """Wait for the end of a job."""
    while job.get("status") not in TERMINAL:
        job = api.get(f"jobs/{part(str(job['job_id']))}", {"wait": WAIT_SECONDS})
    return job


def _check(jobs: list[JsonObject]) -> None:
    """Fail with the problem of a job, or with the number of those that did not succeed."""
    bad = [job for job in jobs if job.get("status") != "succeeded"]
    if not bad:
        return
    problem = cast(JsonObject, bad[0].get("problem") or {})
    if len(jobs) == 1:
        error = problem_error({"detail": f"the job {bad[0]['status']}", **problem})
        raise CommandError(
            error.detail, code=error.code, request_id=error.request_id, advice=error.advice
        )
    raise CommandError(f"{len(bad)} of {len(jobs)} jobs did not succeed")


def _again(api: Api, job_id: str) -> JsonObject:
    """Submit a job that did not succeed; its id is the key, so that it is done once."""
    job = api.get(f"jobs/{part(job_id)}", {"request": True})
    status, request = job.get("status"), cast(JsonObject | None, job.get("request"))
    if status not in TERMINAL - {"succeeded"}:
        raise CommandError(f"{job_id} is {status}; only a job that did not succeed is tried again")
    if request is None:
        detail = f"the app does not return what {job_id} was asked"
        raise CommandError(detail, advice='Submit it as a new job: aos jobs submit "..."')
    body: JsonObject = {**request, "metadata": job.get("metadata")}
    return api.post("jobs", body, key=f"aos-retry-{job_id}")


def _result(job: JsonObject, line: int | None = None) -> JsonObject:
    answers = cast(list[JsonObject], job.get("results") or [])
    problem = cast(JsonObject, job.get("problem") or {})
    return {
        "line": line,
        "job_id": job.get("job_id"),
        "status": job.get("status"),
        "content": "\n\n".join(str(answer.get("content") or "") for answer in answers) or None,
        "problem": problem.get("code"),
    }


def _show_results(session: Session, rows: list[JsonObject]) -> None:
    output = session.output
    if not output.is_table:
        output.items(rows, RESULT_COLUMNS)
        return
    for row in rows:
        output.say(f"{row['job_id']} {row['problem'] or row['status']}")
        if row["content"]:
            output.text(f"{row['content']}\n")


def _progress_bar(session: Session, label: str, total: int) -> AbstractContextManager[Advance]:
    """A bar on standard error, if that is a terminal; gives what advances it by one."""
    if not session.output.err.isatty() or total < 2:
        return nullcontext(lambda: None)
    return _shown_bar(session, label, total)


@contextmanager
def _shown_bar(session: Session, label: str, total: int) -> Generator[Advance]:
    from rich import progress

    console = session.output.console(is_error=True)
    columns: list[Any] = [progress.TextColumn(label), progress.MofNCompleteColumn()]
    if console.width >= 60:
        columns += [progress.BarColumn(), progress.TimeRemainingColumn()]
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)
