"""Clients that other people's generators make of the API document work against the app."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from local.services import ROOT, FunctionsHost
from tests.support.environments import API_TOOLS, api_tools, node_tools, run

DOCUMENT = ROOT / "docs/openapi.json"
EXPECTED = {
    "first": "You said: My name is Ada.",
    "replayed": "true",
    "job": "Your name is Ada.",
    "unknown": ["not_found", 404],
}

pytestmark = pytest.mark.timeout(600)  # the first run installs the packages


def test_the_document_is_valid() -> None:
    done = run(api_tools() / "openapi-spec-validator", DOCUMENT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_linter_has_nothing_to_say() -> None:
    tools = node_tools()
    lint = (*tools.command("@redocly/cli", "redocly"), "lint", "--extends", "recommended")
    done = run(*lint, "--format", "json", DOCUMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert report["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}


def test_a_python_client_works(app: FunctionsHost, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("post_hooks: []\npackage_name_override: aos_client\n")
    generate = (api_tools() / "openapi-python-client", "generate", "--path", DOCUMENT)
    output = ("--meta", "none", "--output-path", tmp_path / "aos_client")
    made = run(*generate, "--config", config, *output)
    assert made.returncode == 0, made.stdout + made.stderr
    environment = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    done = run(
        api_tools() / "python", API_TOOLS / "use_client.py", app.url, environment=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == EXPECTED


def test_a_typescript_client_works(app: FunctionsHost, tmp_path: Path) -> None:
    tools = node_tools()
    shutil.copy(API_TOOLS / "use_client.ts", tmp_path)
    generate = (*tools.command("@hey-api/openapi-ts", "openapi-ts"), "--silent", "-i", DOCUMENT)
    made = run(*generate, "-o", tmp_path / "client", "-p", "@hey-api/client-fetch")
    assert made.returncode == 0, made.stdout + made.stderr
    options = (
        "--strict",
        "--skipLibCheck",
        "--target",
        "es2022",
        "--lib",
        "es2022,dom,dom.iterable",
    )
    modules = ("--module", "commonjs", "--moduleResolution", "node10")
    compiler = tools.command("typescript", "tsc")
    compiled = run(
        *compiler, *options, *modules, "--outDir", tmp_path / "js", tmp_path / "use_client.ts"
    )
    assert compiled.returncode == 0, compiled.stdout
    done = run(tools.node, tmp_path / "js/use_client.js", app.url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == EXPECTED
