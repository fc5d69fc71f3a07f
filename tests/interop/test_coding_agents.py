"""Coding agents edit a file with the app; `make interop` tries them, 600 MB of packages."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.environments import run

from .environments import node

MODEL = "llama-3.3-70b"
EDIT = "echo edited > note.txt"
ASKED = "\n".join(
    ["Edit the note."]
    + [
        f"/call {tool} {json.dumps(arguments)}"
        for tool, arguments in {
            "exec_command": {"cmd": EDIT},
            "shell_command": {"command": EDIT},
            "shell": {"command": ["sh", "-c", EDIT]},
            "bash": {"command": EDIT, "description": "Edit the note"},
        }.items()
    ]
)
"""The scripted model calls the tool that the agent has."""

SECONDS = 120

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("INTEROP_CODING_AGENTS"),
        reason="only `make interop` tries coding agents",
    ),
    pytest.mark.timeout(1500),  # the first run installs the packages
]


def edited(folder: Path, environment: Mapping[str, str], *command: str | Path) -> str:
    """What an agent prints that is asked to edit the file of a new folder."""
    (folder / "note.txt").write_text("as it was\n")
    done = run(*command, environment=environment, seconds=SECONDS, folder=folder, given=ASKED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "note.txt").read_text() == "edited\n", done.stdout + done.stderr
    return done.stdout


def test_codex_edits_a_file(access: Mapping[str, str], tmp_path: Path) -> None:
    provider = {
        "name": '"App"',
        "base_url": json.dumps(access["BASE_URL"]),
        "env_key": '"KEY"',
        "wire_api": '"responses"',
    }
    settings = {f"model_providers.app.{name}": text for name, text in provider.items()}
    settings |= {"model_provider": '"app"', "model": json.dumps(MODEL)}
    options = [part for name, text in settings.items() for part in ("-c", f"{name}={text}")]
    command = (*node("agents").command("@openai/codex", "codex"), "exec", *options)
    sandbox = ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
    printed = edited(tmp_path, access, *command, *sandbox, "-")
    assert "answered:" in printed


def test_opencode_edits_a_file(access: Mapping[str, str], tmp_path: Path) -> None:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": access["BASE_URL"], "apiKey": access["KEY"]},
        "models": {MODEL: {"name": MODEL, "tool_call": True}},
    }
    settings = {"provider": {"app": provider}, "permission": {"bash": "allow"}}
    (tmp_path / "opencode.json").write_text(json.dumps(settings))
    program = node("agents").folder / "node_modules/opencode-linux-x64/bin/opencode"
    alone = {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}
    command = (program, "run", "--model", f"app/{MODEL}")
    printed = edited(tmp_path, {**access, **alone}, *command)
    assert "answered:" in printed
