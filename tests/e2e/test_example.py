"""The example, run as its README says."""

import asyncio
import os
import shlex
import sys

from local.services import ROOT, FoundryEmulator

RUN_SECONDS = 120
"""With the small model, on a busy machine."""

EXAMPLE = ROOT / "examples" / "foundry_agent_service_example.py"


async def run_example(**environment: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the example, started from another folder."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("FOUNDRY_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        cwd=EXAMPLE.parent,
        env={**inherited, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), RUN_SECONDS)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def environment_of_the_readme(foundry_url: str) -> dict[str, str]:
    """What the README exports, with the emulator of this test in place of that of `make run`."""
    readme = (EXAMPLE.parent / "README.md").read_text()
    exports = [line.removeprefix("export ") for line in readme.splitlines() if "export" in line]
    pairs = (pair.split("=", 1) for line in exports for pair in shlex.split(line))
    return {name: value.replace("http://127.0.0.1:7072", foundry_url) for name, value in pairs}


async def test_the_example_talks_to_the_emulator(foundry: FoundryEmulator) -> None:
    code, out, err = await run_example(**environment_of_the_readme(foundry.url))
    assert code == 0, err
    assert "agent  Your name is Ada." in out
    assert "3 messages were sent on conv_" in out
    assert "tools used: " in out
    assert "preferred for leadership: foundry_agent_service" in out
    assert "foundry_agent_service  You said: What is our priority?" in out
    assert "temperature 0.8 by default, 0.9 for this message" in out
    figures = dict(line.split() for line in out.splitlines() if line.startswith("   total_"))
    assert figures["total_requests"] == "5"
    assert int(figures["total_tokens_used"]) > 0
    assert "the service answers" in out
    assert "Traceback" not in err


async def test_the_example_says_in_one_line_what_is_not_configured() -> None:
    code, out, err = await run_example()
    assert (code, out) == (1, "")
    (said,) = err.splitlines()
    assert said.startswith("Foundry Agent Service endpoint URL not configured")


async def test_the_example_says_in_one_line_that_foundry_cannot_be_reached() -> None:
    code, _, err = await run_example(
        FOUNDRY_AGENT_SERVICE_ENDPOINT="http://127.0.0.1:9/openai/v1",
        FOUNDRY_AGENT_SERVICE_API_KEY="local-key",
    )
    assert code == 1
    assert "Foundry cannot be reached" in err.splitlines()[-1]
    assert "Traceback" not in err
