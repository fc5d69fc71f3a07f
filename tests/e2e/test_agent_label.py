"""An app as the original documentation configures it: a host alone, a key, and an agent's id."""

import asyncio
import os
import sys
from pathlib import Path

import httpx

from local.processes import free_port
from local.services import ROOT
from tests.support.served import Deployment

AGENT = "aos-agent-001"


async def test_an_agents_id_is_reported_everywhere_and_the_model_answers(
    deployment: Deployment, tmp_path: Path
) -> None:
    own = Deployment(deployment.storage, deployment.foundry)
    settings = {
        "FOUNDRY_AGENT_SERVICE_ENDPOINT": f"{deployment.foundry.url}/",
        "FOUNDRY_AGENT_SERVICE_API_KEY": "local-key",
        "FOUNDRY_AGENT_ID": AGENT,
    }
    with own.serve(tmp_path, False, **settings) as host:
        async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=30) as caller:
            answer = (await caller.post("messages", json={"message": "Hello"})).json()
            thread = (await caller.post("threads", json={})).json()
            path = f"threads/{thread['thread_id']}/messages"
            for text in ("My name is Ada.", "What is my name?"):
                remembered = (await caller.post(path, json={"message": text})).json()
            audit = (await caller.get("audit")).json()
            metrics = (await caller.get("metrics", params={"by": "agent"})).json()
            ready = await caller.get("health/ready")
        log = host.log_path.read_text("utf-8")
    assert (answer["content"], answer["agent_id"]) == ("You said: Hello", AGENT)
    assert (remembered["content"], remembered["agent_id"]) == ("Your name is Ada.", AGENT)
    assert thread["agent_id"] == AGENT
    assert AGENT in str(audit)
    assert AGENT in str(metrics)
    check = ready.json()["checks"]["foundry"]
    assert (ready.status_code, check["status"]) == (200, "warning")
    assert "project endpoint" in check["detail"]
    assert "FOUNDRY_AGENT_ID only names the agent" in log


async def test_all_wrong_settings_are_reported_when_the_app_starts(
    deployment: Deployment, tmp_path: Path
) -> None:
    wrong = {
        "CALLBACK_HOSTS": "https://host/x",
        "FOUNDRY_TIMOUT": "60",
        "LANES_QUEUE_NAME": deployment.intake,
        "FOUNDRY_AGENT_SERVICE_API_KEY": "key",
    }
    environment = {**os.environ, **deployment.environment(**wrong)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local.host", "--port", str(free_port())),
        *("--app-dir", str(ROOT), "--settings", str(tmp_path / "none.json")),
        cwd=ROOT,
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    said = errors.decode()
    assert process.returncode != 0
    for name in wrong:
        assert f"\n  - {name} " in said, said
