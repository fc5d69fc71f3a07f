"""Runs schemathesis against the app behind Microsoft's worker library."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.services import ROOT, FoundryEmulator

from .environments import API_TOOLS, api_tools

OWNERS = ("ada", "bo")
START_SECONDS = 60
REQUEST_SECONDS = 30
ANSWER_SECONDS = 20
"""The longest time of an answer: deletions take up to 15 s, done or not."""

KEY = "local-key"
MODEL = "llama-3.3-70b"

CONFIG = """
[cache]
enabled = false

[auth.wfc]
path = "{auth}"
user = {user}
{peers}

[checks.negative_data_rejection]
expected-statuses = {refused}

[phases.coverage]
unexpected-methods = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"] # functions have no TRACE

# Rules that JSON Schema cannot express: which models, tools and callbacks are allowed, what a
# response format may hold, one of two members, ranges of days, and headers of MCP that equal the
# body.
[[operations]]
include-operation-id = {ruled}
checks.positive_data_acceptance.expected-statuses = {accepted}
"""
ACCEPTED = ["2xx", "400", "401", "403", "404", "409", "422"]
REFUSED = [
    "400",
    "401",
    "403",
    "404",
    "405",
    "406",
    "409",
    "413",
    "415",
    "422",
    "428",
    "429",
    "5xx",
]
"""The usual ones, and that of a text that is too long."""
RULED = [
    "sendMessage",
    "sendThreadMessage",
    "createThread",
    "submitJob",
    "orchestrateMessage",
    "createKey",
    "getUsage",
    "listAuditRecords",
    "listThreadMessages",
    "createChatCompletion",
    "createResponse",
    "createConversation",
    "getResponse",
    "listInputItems",
    "listItems",
    "addItems",
    "sendMcpMessage",
]


@dataclass(frozen=True)
class Fuzzing:
    """How much to try."""

    examples: int
    seed: int
    phases: str = "examples,coverage,fuzzing,stateful"
    seconds: float = 240
    tags: tuple[str, ...] = ()
    """Only operations with one of these."""
    excluded_checks: tuple[str, ...] = ()


@contextmanager
def behind_the_worker_library(
    python: Path, environment: Mapping[str, str], folder: Path
) -> Generator[str]:
    """Serve the app in a process of its own; yields its address."""
    address = folder / "address"
    command = (python, "-m", "tests.support.worker.serving", ROOT, "", address)
    with (folder / "worker.log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - a fixed command
            command, cwd=ROOT, env=dict(environment), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            until = time.monotonic() + START_SECONDS
            while not (address.exists() and address.read_text()):
                assert process.poll() is None, (folder / "worker.log").read_text()
                assert time.monotonic() < until, "the worker did not start"
                time.sleep(0.1)
            yield address.read_text()
        finally:
            process.terminate()
            process.wait(timeout=START_SECONDS)


def every_model(foundry: FoundryEmulator) -> dict[str, str]:
    """The settings that make the emulator answer as each kind of model."""
    url = f"{foundry.url}/openai/v1"
    return {
        "VLLM_SERVER_URL": url,
        "VLLM_API_KEY": KEY,
        "AZURE_ML_ENDPOINT": url,
        "AZURE_ML_KEY": KEY,
        "AZURE_OPENAI_ENDPOINT": foundry.url,
        "AZURE_OPENAI_API_KEY": KEY,
        "AZURE_OPENAI_DEPLOYMENT": MODEL,
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": KEY,
        "OPENAI_MODEL": MODEL,
    }


def fuzz(url: str, keys: Mapping[str, str], folder: Path, how: Fuzzing) -> str:
    """The report of a run, which must have found nothing."""
    folder.mkdir()
    auth = folder / "auth.json"
    users = [
        {
            "name": name,
            "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {key}"}],
        }
        for name, key in keys.items()
    ]
    auth.write_text(json.dumps({"auth": users}))
    config = folder / "schemathesis.toml"
    names = {
        "user": json.dumps(next(iter(keys))),
        "peers": f"peers = {json.dumps([*keys])}" if len(keys) > 1 else "",
    }
    lists = {"ruled": RULED, "accepted": ACCEPTED, "refused": REFUSED}
    lists = {name: json.dumps(each) for name, each in lists.items()}
    config.write_text(CONFIG.format(auth=auth, **names, **lists))
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(API_TOOLS)}
    command = (
        api_tools() / "schemathesis",
        "--config-file",
        config,
        "run",
        f"{url}/api/openapi.json",
    )
    tags = [part for tag in how.tags for part in ("--include-tag", tag)]
    excluded = ("--exclude-checks", ",".join(how.excluded_checks)) if how.excluded_checks else ()
    amount = ("-n", str(how.examples), "--seed", str(how.seed), "--phases", how.phases)
    options = (
        "--request-timeout",
        str(REQUEST_SECONDS),
        "--max-response-time",
        str(ANSWER_SECONDS),
        "--checks",
        "all",
        "--workers",
        "2",
        "--no-shrink",
        "--continue-on-failure",
        "--no-color",
    )
    report = folder / "report.txt"
    with report.open("w") as file:
        process = subprocess.Popen(  # noqa: S603 - a fixed command
            (*command, *tags, *amount, *options, *excluded),
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            code = process.wait(how.seconds)
        except subprocess.TimeoutExpired:
            code = None
            process.kill()
    found = f"seed {how.seed}, exit code {code}\n{report.read_text()}"
    assert code == 0, found
    return found
