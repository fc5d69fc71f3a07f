"""What one caller cannot take from others, on the running app."""

import asyncio
import time
from urllib.parse import urlsplit

import httpx

from local.services import FunctionsHost

SLOW_SECONDS = 30
LABELS = 70


async def test_a_body_that_trickles_in_is_answered_408(app: FunctionsHost) -> None:
    url = urlsplit(app.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    head = "POST /api/messages HTTP/1.1\r\nHost: app\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
    begun = time.monotonic()
    async with asyncio.timeout(SLOW_SECONDS):
        answer = await reader.read()  # to the end: the connection is closed
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_timeout"' in answer
    assert time.monotonic() - begun >= 10
    writer.close()


async def test_labels_that_a_caller_makes_up_are_counted_as_other(
    caller: httpx.AsyncClient,
) -> None:
    bodies = [
        {"message": "Hi", "domain": f"d{n}", "metadata": {"department": f"p{n}"}}
        for n in range(LABELS)
    ]
    answers = await asyncio.gather(*(caller.post("messages", json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}
    groups = (await caller.get("metrics", params={"by": "domain"})).json()["groups"]
    assert len(groups) <= 51
    assert sum(group["total_requests"] for group in groups if group["domain"] == "other") > 0
    departments = (await caller.get("usage", params={"by": "department"})).json()["groups"]
    assert len(departments) <= 52
    assert "other" in {group["department"] for group in departments}
