"""What would break generated clients is in the changelog, or it fails here."""

from __future__ import annotations

import copy
import json
import subprocess
from typing import Any

import pytest

from local.services import ROOT
from tests.support.api_changes import breaking

PAGE = "docs/openapi.json"
CURRENT: dict[str, Any] = json.loads((ROOT / PAGE).read_text())


def git(*arguments: str) -> str:
    command = ("git", "-C", str(ROOT), *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout if done.returncode == 0 else ""


def earlier_documents() -> list[dict[str, Any]]:
    """The document of the last release and of the last commits that changed it."""
    tags = git("describe", "--tags", "--abbrev=0", "--match", "v*").split()
    commits = git("log", "-3", "--format=%H", "--", PAGE).split()
    texts = [git("show", f"{each}:{PAGE}") for each in (*tags, *commits)]
    return [json.loads(text) for text in texts if text]


def test_every_breaking_change_is_in_the_changelog() -> None:
    known = (ROOT / "CHANGELOG.md").read_text()
    earlier = earlier_documents()
    if not earlier:
        pytest.skip("this checkout has no history")
    changes = {sentence for document in earlier for sentence in breaking(document, CURRENT)}
    assert [each for each in sorted(changes) if each not in known] == []


SEND, LIST, SUBMIT = "/api/messages", "/api/threads", "/api/jobs"


def without(*path: str | int) -> dict[str, Any]:
    """The document without one of its parts."""
    document = copy.deepcopy(CURRENT)
    target: Any = document
    for part in path[:-1]:
        target = target[part]
    named = path[-1]
    target.pop(target.index(named) if named in target and isinstance(target, list) else named)
    return document


def test_what_is_taken_away_is_found() -> None:
    schemas = ("components", "schemas")
    answer = ("paths", SEND, "post", "responses", "200", "content", "text/event-stream")
    location = ("paths", SUBMIT, "post", "responses", "202", "headers", "Location")
    for change, sentence in (
        (("paths", "/api/jobs/{job_id}/cancel"), "`cancelJob` is gone"),
        (("paths", LIST, "get", "parameters", 0), "`listThreads` no longer takes `limit`"),
        (
            (*schemas, "CreateThread", "properties", "expires_in"),
            "`createThread` no longer takes `expires_in`",
        ),
        (
            (*schemas, "Job", "properties", "progress"),
            "`listJobs` no longer answers `data[].progress`",
        ),
        (
            (*schemas, "Turn", "required", "content"),
            "`sendMessage` may answer without `content`",
        ),
        (location, "`submitJob` no longer answers the header `Location`"),
        (answer, "`sendMessage` no longer answers text/event-stream"),
    ):
        assert sentence in breaking(CURRENT, without(*change))


def test_what_is_required_now_is_found() -> None:
    document = copy.deepcopy(CURRENT)
    document["paths"]["/api/send"] = document["paths"].pop(SEND)
    document["components"]["schemas"]["Orchestrate"]["required"].append("domain")
    document["paths"][LIST]["get"]["parameters"][0]["required"] = True
    assert breaking(CURRENT, document) == [
        "`listThreads` requires `limit`",
        "`orchestrateMessage` requires `domain`",
        "`sendMessage` is now POST /api/send",
    ]


def test_what_is_added_breaks_nothing() -> None:
    document = copy.deepcopy(CURRENT)
    for name in ("Turn", "SendMessage"):
        document["components"]["schemas"][name]["properties"]["new"] = {"type": "string"}
    assert breaking(CURRENT, document) == []
