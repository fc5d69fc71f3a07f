"""What callers do again and again: say something on a thread, wait for a job to end."""

from typing import Any

import httpx

from .waiting import eventually

TERMINAL = {"succeeded", "failed", "cancelled", "expired"}


async def say(caller: httpx.AsyncClient, thread_id: str, message: str) -> dict[str, Any]:
    """Send a message on a thread and return the answer."""
    answer = await caller.post(f"threads/{thread_id}/messages", json={"message": message})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def submit(caller: httpx.AsyncClient, **body: Any) -> str:
    """Submit a job and return its id."""
    answer = await caller.post("jobs", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()["job_id"]


async def ended(caller: httpx.AsyncClient, job_id: str, seconds: float = 30) -> dict[str, Any]:
    """Wait until a job has ended and return it."""

    async def job_if_ended() -> dict[str, Any] | None:
        answer = await caller.get(f"jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job = answer.json()
        return job if job["status"] in TERMINAL else None

    return await eventually(job_if_ended, seconds)
