"""Every command on a terminal, wide and narrow, and in a pipe."""

import csv
import io
import json

import pytest

from tests.support.leaks import leaks
from tests.support.terminal import Aos

WIDE, NARROW = 120, 40


def test_a_message_is_answered(aos: Aos) -> None:
    shown = aos.run("chat", "Hello there")
    assert (shown.code, shown.plain.strip()) == (0, "You said: Hello there")


@pytest.mark.parametrize("columns", [WIDE, NARROW])
def test_a_thread_from_its_creation_to_its_end(aos: Aos, columns: int) -> None:
    created = json.loads(aos.pipe("threads", "new", "--metadata", "team=finance").out)
    thread = created["thread_id"]
    assert aos.run("chat", "-t", thread, "First", columns=columns).code == 0
    listed = aos.run("threads", "ls", columns=columns)
    assert listed.code == 0
    assert thread in listed.plain
    if columns == WIDE:
        assert max(map(len, listed.plain.splitlines())) <= WIDE
    assert "team=finance" in aos.run("threads", "show", thread, columns=columns).plain
    changed = aos.run("threads", "set", thread, "team=sales", columns=columns)
    assert "team=sales" in changed.plain
    said = aos.run("threads", "messages", thread, columns=columns).plain
    assert said.index("First") < said.index("You said: First")
    exported = aos.pipe("threads", "export", thread, "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["role"] for line in exported] == ["user", "assistant"]
    removal = aos.start("threads", "rm", thread, columns=columns)
    removal.expect("[y/N]")
    removal.type("y\n")
    assert "is deleted" in removal.wait().plain
    gone = aos.run("threads", "show", thread, columns=columns)
    assert gone.code == 4
    assert "(not_found, " in gone.plain


@pytest.mark.parametrize("columns", [WIDE, NARROW])
def test_a_job_from_its_submission_to_its_answer(aos: Aos, columns: int) -> None:
    job = json.loads(aos.pipe("jobs", "submit", "Later").out)["job_id"]
    watched = aos.run("jobs", "watch", job, columns=columns)
    assert (watched.code, "succeeded" in watched.plain) == (0, True)
    for command in ("ls", "show"):
        shown = aos.run("jobs", command, *([job] if command == "show" else []), columns=columns)
        assert shown.code == 0
        assert job in shown.plain
    assert "You said: Later" in aos.run("jobs", "results", job, columns=columns).plain
    assert aos.run("jobs", "cancel", job).code == 1


@pytest.mark.parametrize("columns", [WIDE, NARROW])
@pytest.mark.parametrize(
    ("command", "shown"),
    [("models", "foundry_agent_service"), ("tools", "knowledge_retrieval"), ("whoami", "keys")],
)
def test_what_is_shown_of_the_app(aos: Aos, command: str, shown: str, columns: int) -> None:
    result = aos.run(command, columns=columns)
    assert result.code == 0
    assert shown in result.plain
    assert leaks(result.out) == []


def test_formats_of_a_list(aos: Aos) -> None:
    for n in range(2):
        aos.pipe("threads", "new", "--metadata", f"n=={n}")
    as_json = json.loads(aos.pipe("threads", "ls").out)
    lines = aos.pipe("threads", "ls", "-o", "jsonl").out.splitlines()
    assert list(map(json.loads, lines)) == as_json
    rows = list(csv.DictReader(io.StringIO(aos.pipe("threads", "ls", "-o", "csv").out)))
    assert [row["thread_id"] for row in rows] == [item["thread_id"] for item in as_json]
    assert len(json.loads(aos.pipe("threads", "ls", "-n", "1").out)) == 1


def test_colours_only_where_they_are_wanted(aos: Aos) -> None:
    aos.pipe("threads", "new")
    assert "\x1b[" in aos.run("threads", "ls").out
    plain = Aos(aos.folder, aos.url, {**aos.more, "NO_COLOR": "1"})
    assert "\x1b[3" not in plain.run("threads", "ls").out
    assert "\x1b" not in aos.pipe("threads", "ls", "-o", "table").out
