"""Other people's OpenAI clients, unmodified, with another address and key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from .environments import Script

CHAT, RESPONSES = "chat", "responses"
SCRIPTS = {
    Script("agent_framework_agents.py"): [CHAT, RESPONSES],
    Script("langchain_models.py"): [CHAT, RESPONSES],
    Script("llama_index_models.py", "llama-index.txt"): [CHAT],
    Script("llm_package.py"): [CHAT],
    Script("openai_agents.py"): [RESPONSES],
    Script("openai_node.mjs"): [CHAT, RESPONSES],
    Script("openai_python.py"): [CHAT, RESPONSES],
    Script("pydantic_ai_agents.py"): [CHAT, RESPONSES],
    Script("vercel_ai.mjs"): [CHAT, RESPONSES, "compatible"],
}
CLEAR = {
    "wrong_key": "key",
    "full_budget": "budget",
    "unknown_model": "no-such-model",
}
"""A word of each error."""

pytestmark = pytest.mark.timeout(900)  # the first run installs the packages


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name.partition(".")[0])
def test_a_client_streams_calls_a_tool_and_keeps_a_conversation(
    script: Script, access: Mapping[str, str], tmp_path: Path
) -> None:
    report = script.report(SCRIPTS[script], access, tmp_path)
    refusals = report.pop("refusals")
    assert list(report) == SCRIPTS[script]
    for used in report.values():
        pieces = [piece for piece in used["streamed"] if piece]
        assert "".join(pieces).strip() == "word1 word2 word3 word4 word5"
        assert len(pieces) > 1
        assert used["tool"] == "weather answered: 21 degrees in Bern"
        assert used["conversation"] == "Your name is Ada."
    for case, word in CLEAR.items():
        assert word in refusals[case], refusals
        assert "no error" not in refusals[case]
