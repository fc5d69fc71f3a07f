"""What callers, queues and models send at its worst, through the running app."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import httpx
import pytest
from ulid import ULID

from tests.support.asking import ended, say, submit
from tests.support.served import Deployment, put_on_intake
from tests.support.waiting import eventually

JSON = {"content-type": "application/json"}
HELLO = b'{"message": "hi"}'
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)).decode()

HALF = r"half \ud83d of a pair"


def raw(**members: str) -> bytes:
    """A JSON body of texts as they are written, escapes included."""
    return b"{%s}" % ", ".join(f'"{n}": "{text}"' for n, text in members.items()).encode()


async def post(caller: httpx.AsyncClient, path: str, content: bytes, **headers: str) -> Any:
    return await caller.post(path, content=content, headers=JSON | headers)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + HELLO,
        b'{"message": "hi", "domain": null, "tools": null, "images": null, "metadata": null}',
        b'{"message": "hi", "response_format": null, "model": null, "max_tokens": null}',
        b'{"message": "first", "message": "hi"}',
    ],
)
async def test_what_other_libraries_write_is_taken(
    caller: httpx.AsyncClient, content: bytes
) -> None:
    answer = await post(caller, "messages", content)
    assert (answer.status_code, answer.json()["content"]) == (200, "You said: hi")


@pytest.mark.parametrize(
    "text", ["a\u2028b\u2029c", "a\x85b", "a\x0b\x0c\x1cb", "a\ufeffb\uffff", "\U0010ffff", "]]>&<"]
)
async def test_any_character_is_stored_and_answered(
    caller: httpx.AsyncClient, thread_id: str, text: str
) -> None:
    assert (await say(caller, thread_id, text))["content"] == f"You said: {text}"
    job_id = await submit(caller, message=text, thread_id=thread_id)
    job = await ended(caller, job_id)
    assert (job["status"], job["result"]["content"]) == ("succeeded", f"You said: {text}")
    assert (await caller.get(f"threads/{thread_id}")).json()["message_count"] == 2


@pytest.mark.parametrize(
    "url",
    [
        f"DATA:IMAGE/PNG;BASE64,{PIXEL}",
        "data:image/png;base64," + "\r\n".join(PIXEL[n : n + 20] for n in range(0, len(PIXEL), 20)),
    ],
)
async def test_images_as_they_are_pasted_reach_foundry(caller: httpx.AsyncClient, url: str) -> None:
    answer = await caller.post("messages", json={"message": "What is it?", "images": [url]})
    assert "Image input is not supported with the deployment" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("images", ["data:image/png;base64,\u00e9"], "invalid_content"),
        ("images", ["http://[::1"], "invalid_content"),
        ("response_format", {"type": ["object", "null"]}, "invalid_response_format"),
        ("response_format", {"type": "object", "properties": []}, "invalid_response_format"),
        ("max_tokens", 100_000, "invalid_request"),
        ("model", "gpt-of-another", "invalid_request"),
    ],
)
async def test_what_cannot_be_used_is_named_on_every_way_in(
    caller: httpx.AsyncClient,
    deployment: Deployment,
    thread_id: str,
    field: str,
    value: Any,
    code: str,
) -> None:
    option = {field: value}
    for path, body in {
        "messages": {"message": "hi"},
        f"threads/{thread_id}/messages": {"message": "hi"},
        "jobs": {"message": "hi"},
        "orchestrate": {"user_input": "hi", "conversation_id": str(ULID())},
    }.items():
        answer = await caller.post(path, json=body | option)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, code), problem
        assert problem["errors"][0]["field"].startswith(field)
    owner, job_id = f"tenant-1:{ULID()}", f"job_{ULID()}"
    body = {"owner": owner, "job_id": job_id, "message": "hi"} | option
    await put_on_intake(deployment, json.dumps(body))

    async def problem_of_the_job() -> Any:
        rows = await deployment.rows(owner, kind="job:")
        return rows and json.loads(rows[0]["problem"])

    refused = await eventually(problem_of_the_job, 30)
    assert refused["status"] == 422


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (gzip.compress(HELLO), {"content-encoding": "gzip"}),
        (gzip.compress(HELLO), {}),
        (HELLO.decode().encode("utf-16"), {}),
        (HELLO.decode().encode("utf-16-le"), {}),
        (HELLO, {"content-type": "application/json; charset=utf-16"}),
    ],
)
async def test_a_body_that_is_not_plain_utf_8_is_415(
    caller: httpx.AsyncClient, content: bytes, headers: dict[str, str]
) -> None:
    answer = await post(caller, "messages", content, **headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_half_a_character_breaks_no_conversation(
    caller: httpx.AsyncClient, deployment: Deployment, thread_id: str
) -> None:
    body = raw(message=HALF, domain=HALF)[:-1] + b', "metadata": {"k": "%s"}}' % HALF.encode()
    for path in ("messages", f"threads/{thread_id}/messages"):
        answer = await post(caller, path, body)
        assert answer.json()["content"] == "You said: half ? of a pair", answer.text
    streamed = await post(caller, f"threads/{thread_id}/messages", body, accept="text/event-stream")
    assert "half ? of a pair" in streamed.text
    asked = raw(user_input=HALF, conversation_id=HALF)
    assert (await post(caller, "orchestrate", asked)).status_code == 200
    submitted = await post(caller, "jobs", raw(message=HALF, thread_id=thread_id))
    job = await ended(caller, submitted.json()["job_id"])
    assert job["result"]["content"] == "You said: half ? of a pair"
    history = (await caller.get(f"threads/{thread_id}/messages")).json()["data"]
    assert [message["content"] for message in history[1::2]] == ["half ? of a pair"] * 3
    assert (await say(caller, thread_id, "And now?"))["content"] == "You said: And now?"
    owner = f"tenant-1:{ULID()}"
    await put_on_intake(deployment, raw(message=HALF, owner=owner).decode())

    async def succeeded() -> bool:
        rows = await deployment.rows(owner, kind="job:")
        return bool(rows) and rows[0]["status"] == "succeeded"

    await eventually(succeeded, 30)


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("usage?form=2026-01-01", "from"),
        ("usage?fro=2026-01-01", "from"),
        ("threads?limits=5", "limit"),
        ("threads?metadata=x", "metadata."),
        ("jobs?state=queued", "status"),
        ("metrics?windows=1h", "window"),
        ("audit?thread=x", "thread_id"),
        ("health?x=1", "owner"),
        ("threads/thread_01HZZZZZZZZZZZZZZZZZZZZZZZ?wait=1", "owner"),
    ],
)
async def test_an_unknown_parameter_is_refused_with_the_nearest(
    caller: httpx.AsyncClient, path: str, nearest: str
) -> None:
    answer = await caller.get(path)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert f"did you mean {nearest}?" in answer.json()["detail"]


async def test_a_function_key_may_be_in_the_query(caller: httpx.AsyncClient) -> None:
    assert (await caller.get("threads?code=key&clientId=default&limit=1")).status_code == 200


async def test_head_is_get_without_a_body(caller: httpx.AsyncClient, thread_id: str) -> None:
    for path in ("health", "threads", f"threads/{thread_id}", "jobs", "metrics", "usage", "audit"):
        got, head = await caller.get(path), await caller.head(path)
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-type"] == got.headers["content-type"]
