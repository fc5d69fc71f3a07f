"""The judges beside the compiler: Microsoft's parser of log queries, and a security scanner.

`make test` installs both under `.local`; each runs once for all tests, and the scanner's report is
kept between runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from local.install import ENVIRONMENT, JUDGES, QUERY_PARSER_TARGET, SCANNER_TARGET
from local.node import find_node

from .compiler import REQUIRED
from .kept import KeptAnswers
from .project import Deployment

HOW_TO_GET_THEM = "the query parser and the scanner are not installed: `make test` does it"


def require(target: Path) -> None:
    """Skip the test where a judge is not installed, or fail where one is required."""
    if not (target / ".installed").exists():
        assert not os.environ.get(REQUIRED), HOW_TO_GET_THEM
        pytest.skip(HOW_TO_GET_THEM)


def query_problems(queries: Mapping[str, str]) -> dict[str, list[str]]:
    """What is wrong with each query, from the columns that Azure Monitor's tables have."""
    require(QUERY_PARSER_TARGET)
    tables = json.loads((JUDGES / "log_tables.json").read_text())
    package = QUERY_PARSER_TARGET / "node_modules" / "@kusto" / "language-service-next"
    done = subprocess.run(  # noqa: S603 (a fixed command)
        [find_node(ENVIRONMENT).executable, str(JUDGES / "check_queries.js"), str(package)],
        input=json.dumps({"tables": tables, "queries": dict(queries)}),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def findings(deployments: Mapping[str, Deployment], folder: Path) -> dict[str, set[str]]:
    """The checks that some deployment fails, each with a type of resource and the names of those.

    It gets flat templates made of what would be deployed: it cannot read newer Bicep.
    """
    require(SCANNER_TARGET)
    digest = hashlib.sha256((SCANNER_TARGET / ".installed").read_bytes())
    for number, deployment in enumerate(deployments.values()):
        template = {
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
            "contentVersion": "1.0.0.0",
            "resources": [r.body for r in deployment.resources if r.id],
        }
        text = json.dumps(template)
        digest.update(text.encode())
        (folder / f"{number}.json").write_text(text)
    report = KeptAnswers("scanner").get(digest.hexdigest(), lambda: _scan(folder))
    # Files that it cannot read are a number in its report, and nothing in its exit code.
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 0
    failed: dict[str, set[str]] = defaultdict(set)
    for check in report["failed"]:
        type_, _, name = check["resource"].rpartition(".")
        failed[f"{check['check_id']} {type_}"].add(name)
    return dict(failed)


def _scan(folder: Path) -> dict[str, Any]:
    """The summary of a scan of a folder, and the checks that failed."""
    command = [str(SCANNER_TARGET / "bin" / "checkov"), "--directory", str(folder)]
    command += ["--framework", "arm", "--output", "json", "--quiet", "--skip-download"]
    done = subprocess.run(  # noqa: S603 (a fixed command)
        [*command, "--soft-fail"], capture_output=True, text=True, check=True
    )
    report = json.loads(done.stdout)
    failed = [
        {name: check[name] for name in ("check_id", "resource")}
        for check in report["results"]["failed_checks"]
    ]
    return {"summary": report["summary"], "failed": failed}
