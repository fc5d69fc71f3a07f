"""The official clients of the Model Context Protocol, unmodified: every tool, in both revisions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from .environments import Script

REVISIONS = ["2026-07-28", "2025-11-25"]
SCRIPTS = [Script("mcp_python.py", "mcp.txt"), Script("mcp_node.mjs", packages="mcp")]
TOOLS = [
    "ask_agent",
    "start_thread",
    "list_threads",
    "get_messages",
    "submit_job",
    "get_job",
    "cancel_job",
    "list_jobs",
    "usage",
]
USED = {
    "tools": TOOLS,
    "content": "Your name is Ada.",
    "turns_of_a_key": 1,
    "messages": 4,
    "thread_is_listed": True,
    "job": "succeeded",
    "job_is_listed": True,
    "cancelled": "cancelled",
    "has_used": True,
    "refusal": "not_found",
}
JSON, STREAM = "application/json", "text/event-stream"

pytestmark = pytest.mark.timeout(900)  # the first run installs the packages


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name.partition(".")[0])
def test_a_client_calls_every_tool(
    script: Script, access: Mapping[str, str], tmp_path: Path
) -> None:
    report = script.report(REVISIONS, access, tmp_path)
    assert list(report) == REVISIONS
    for revision, found in report.items():
        streamed = {"progress": True, "media_types": [JSON, STREAM]}
        at_once = {"progress": False, "media_types": [JSON]}
        assert found["stream"] == {"revision": revision, **USED, **streamed}
        assert found["json"] == {"revision": revision, **USED, **at_once}
        assert "budget_exhausted" in found["refusals"]["full_budget"]
        assert "401" in found["refusals"]["wrong_key"]
