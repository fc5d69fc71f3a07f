"""Every kind of fault does on the wire what it promises."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from .conftest import TOKEN, Emulator, FaultInjector, text_of, turn


async def stored_texts(client: httpx.AsyncClient, conversation: str) -> list[str]:
    path = f"conversations/{conversation}/items"
    page = (await client.get(path, params={"order": "asc"})).raise_for_status().json()
    return [item["content"][0]["text"] for item in page["data"]]


async def until_stored(client: httpx.AsyncClient, conversation: str, texts: list[str]) -> None:
    async with asyncio.timeout(10):
        while await stored_texts(client, conversation) != texts:
            await asyncio.sleep(0.02)


async def lines_of(client: httpx.AsyncClient, body: dict[str, Any]) -> list[str]:
    """The data lines of a stream."""
    mark = "data: "
    async with client.stream("POST", "responses", json={**body, "stream": True}) as response:
        lines = [line async for line in response.aiter_lines()]
    return [line.removeprefix(mark) for line in lines if line.startswith(mark)]


async def test_status_does_no_work(
    raw: httpx.AsyncClient, conversation: str, inject: FaultInjector
) -> None:
    body = {"error": {"code": "429", "message": "Rate limit is exceeded. Try again in 7 seconds."}}
    await inject("status", status=429, headers={"retry-after-ms": "70"}, body=body, times=2)
    for _ in range(2):
        refused = await raw.post("responses", json=turn("hi", conversation=conversation))
        assert refused.status_code == 429
        assert refused.headers["retry-after-ms"] == "70"
        assert refused.json() == body
    assert await stored_texts(raw, conversation) == []
    assert (await raw.post("responses", json=turn("hi"))).status_code == 200


async def test_status_without_a_body_has_the_services_form(
    raw: httpx.AsyncClient, inject: FaultInjector
) -> None:
    await inject("status", "conversations.create", status=503)
    refused = await raw.post("conversations", json={})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "server_error"


async def test_drop_resets_without_work(
    raw: httpx.AsyncClient, conversation: str, inject: FaultInjector
) -> None:
    await inject("drop")
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await raw.post("responses", json=turn("hi", conversation=conversation))
    assert await stored_texts(raw, conversation) == []


async def test_the_socket_is_really_reset(emulator: Emulator, inject: FaultInjector) -> None:
    await inject("drop", "conversations.list")
    reader, writer = await asyncio.open_connection("127.0.0.1", emulator.port)
    path = "/api/projects/local/openai/v1/conversations"
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    )
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_work_then_drop_leaves_the_work(
    raw: httpx.AsyncClient, conversation: str, inject: FaultInjector, stream: bool
) -> None:
    await inject("work_then_drop")
    body = turn("hi", conversation=conversation, stream=stream)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await raw.post("responses", json=body)
    assert await stored_texts(raw, conversation) == ["hi", "You said: hi"]


async def test_work_then_status_leaves_the_work(
    raw: httpx.AsyncClient, conversation: str, inject: FaultInjector
) -> None:
    await inject("work_then_status", status=500)
    refused = await raw.post("responses", json=turn("hi", conversation=conversation))
    assert refused.status_code == 500
    assert await stored_texts(raw, conversation) == ["hi", "You said: hi"]


@pytest.mark.parametrize(("when", "texts"), [("before", []), ("after", ["hi", "You said: hi"])])
async def test_hang_waits(
    raw: httpx.AsyncClient,
    conversation: str,
    inject: FaultInjector,
    when: str,
    texts: list[str],
) -> None:
    await inject("hang", seconds=1.0, when=when)
    body = turn("hi", conversation=conversation)
    with pytest.raises(httpx.ReadTimeout):
        await raw.post("responses", json=body, timeout=0.4)
    assert await stored_texts(raw, conversation) == texts
    await until_stored(raw, conversation, ["hi", "You said: hi"])


async def test_cut_stream_cuts_after_so_many_events(
    raw: httpx.AsyncClient, conversation: str, inject: FaultInjector
) -> None:
    await inject("cut_stream", after_events=4)
    body = turn("/words 5", conversation=conversation, stream=True)
    seen = bytearray()

    async def read() -> None:
        async with raw.stream("POST", "responses", json=body) as response:
            async for chunk in response.aiter_bytes():
                seen.extend(chunk)

    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await read()
    assert seen.count(b"event: ") == 4
    await until_stored(raw, conversation, ["/words 5", "word1 word2 word3 word4 word5"])


async def test_malformed_event_spoils_one(raw: httpx.AsyncClient, inject: FaultInjector) -> None:
    await inject("malformed_event", at=4)
    lines = await lines_of(raw, turn("/words 2"))
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines[4])
    rest = [json.loads(line)["type"] for line in lines[:4] + lines[5:]]
    assert rest[-1] == "response.completed"


async def test_no_terminal_ends_early_but_orderly(
    raw: httpx.AsyncClient, inject: FaultInjector
) -> None:
    await inject("no_terminal")
    lines = await lines_of(raw, turn("/words 2"))
    assert json.loads(lines[-1])["type"] == "response.output_item.done"


async def test_html_looks_like_a_proxy(raw: httpx.AsyncClient, inject: FaultInjector) -> None:
    await inject("html", status=502)
    page = await raw.post("responses", json=turn("hi"))
    assert page.status_code == 502
    assert page.headers["content-type"].startswith("text/html")
    assert "<center>nginx</center>" in page.text


async def test_slow_takes_time_for_each_event(
    raw: httpx.AsyncClient, inject: FaultInjector
) -> None:
    await inject("slow", seconds=0.1)
    started = time.monotonic()
    answer = await raw.post("responses", json=turn("/words 5"))
    assert answer.status_code == 200
    assert time.monotonic() - started >= 0.5


async def test_user_item_then_drop_answers_later(
    raw: httpx.AsyncClient, conversation: str, inject: FaultInjector
) -> None:
    await inject("user_item_then_drop", after=0.5)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await raw.post("responses", json=turn("hi", conversation=conversation))
    assert await stored_texts(raw, conversation) == ["hi"]
    locked = await raw.post("responses", json=turn("again", conversation=conversation))
    assert locked.status_code == 409
    await until_stored(raw, conversation, ["hi", "You said: hi"])


async def test_failed_and_incomplete_are_http_200(
    raw: httpx.AsyncClient, inject: FaultInjector
) -> None:
    await inject("failed")
    failed = await raw.post("responses", json=turn("hi"))
    assert failed.status_code == 200
    assert failed.json()["status"] == "failed"
    assert failed.json()["error"]["code"] == "server_error"
    await inject("incomplete")
    incomplete = (await raw.post("responses", json=turn("hi"))).json()
    assert incomplete["status"] == "incomplete"
    assert incomplete["incomplete_details"] == {"reason": "max_output_tokens"}
    assert text_of(incomplete) == "You "


async def test_no_usage_hides_it_but_bills_it(
    raw: httpx.AsyncClient, emulator: Emulator, inject: FaultInjector
) -> None:
    billed = (await raw.get(f"{emulator.origin}/_emulator/usage")).json()["total_tokens"]
    await inject("no_usage")
    answer = (await raw.post("responses", json=turn("hi"))).json()
    assert (answer["status"], answer["usage"]) == ("completed", None)
    after = (await raw.get(f"{emulator.origin}/_emulator/usage")).json()["total_tokens"]
    assert after == billed + 4


async def test_a_fault_strikes_only_what_it_matches(
    raw: httpx.AsyncClient, conversation: str, emulator: Emulator, inject: FaultInjector
) -> None:
    await inject("status", match={"conversation": conversation})
    await inject("status", "conversations.get", probability=0.0)
    assert (await raw.post("responses", json=turn("hi"))).status_code == 200
    assert (await raw.get(f"conversations/{conversation}")).status_code == 200
    struck = await raw.post("responses", json=turn("hi", conversation=conversation))
    assert struck.status_code == 500
    faults = (await raw.get(f"{emulator.origin}/_emulator/faults")).json()["faults"]
    assert [fault["struck"] for fault in faults] == [1, 0]


async def test_an_unknown_fault_is_refused(emulator: Emulator) -> None:
    async with httpx.AsyncClient(base_url=emulator.origin) as client:
        for body in ({"kind": "explode"}, {"kind": "drop", "colour": "red"}):
            assert (await client.post("/_emulator/faults", json=body)).status_code == 422


async def test_the_log_tells_what_was_asked(
    raw: httpx.AsyncClient, conversation: str, emulator: Emulator, inject: FaultInjector
) -> None:
    await inject("drop", "conversations.delete")
    body = turn("hi", conversation=conversation)
    await raw.post("responses", json=body)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await raw.delete(f"conversations/{conversation}")
    log = (await raw.get(f"{emulator.origin}/_emulator/requests")).json()["requests"]
    created, dropped = log[-2:]
    assert (created["operation"], created["status"]) == ("responses.create", 200)
    assert created["body"] == body
    assert created["conversation"] == dropped["conversation"] == conversation
    assert "authorization" in created["headers"]
    assert (dropped["method"], dropped["status"], dropped["fault"]) == ("DELETE", None, "drop")


ERROR = {"code": "too_many_requests", "message": "Slow down."}


@pytest.mark.parametrize(
    ("kind", "last"),
    [
        ("failed", ["response.failed"]),
        ("error_event", ["error"]),
        ("failed_then_error", ["response.failed", "error"]),
        ("error_then_failed", ["error", "response.failed"]),
    ],
)
async def test_an_answer_fails_by_events_in_any_order(
    raw: httpx.AsyncClient, inject: FaultInjector, kind: str, last: list[str]
) -> None:
    await inject(kind, body=ERROR, headers={"Retry-After": "7"}, times=2)
    events = [json.loads(line) for line in await lines_of(raw, turn("hi"))]
    ends = [e for e in events if e["type"] in {"response.failed", "error", "response.completed"}]
    assert [event["type"] for event in ends] == last
    by_type = {event["type"]: event for event in ends}
    if "error" in by_type:
        assert by_type["error"]["code"] == ERROR["code"]
    if "response.failed" in by_type:
        expected = ERROR if kind == "failed" else None
        assert by_type["response.failed"]["response"]["error"] == expected
    answer = await raw.post("responses", json=turn("hi"))
    assert (answer.status_code, answer.headers["retry-after"]) == (200, "7")
    assert (answer.json()["status"], answer.json()["error"]) == ("failed", ERROR)


async def test_a_stream_may_come_whole_or_compressed(
    raw: httpx.AsyncClient, inject: FaultInjector
) -> None:
    await inject("whole")
    whole = await raw.post("responses", json={**turn("hi"), "stream": True})
    assert whole.headers["content-type"] == "application/json"
    assert whole.json()["status"] == "completed"
    await inject("gzip")
    packed = await raw.post("responses", json={**turn("hi"), "stream": True})
    assert packed.headers["content-encoding"] == "gzip"
    assert "response.completed" in packed.text


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_chat_completion_fails_inside_its_answer(
    resource: httpx.AsyncClient, inject: FaultInjector, streamed: bool
) -> None:
    await inject("failed", "chat.completions.create", body=ERROR)
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hi"}]}
    answer = await resource.post("chat/completions", json={**body, "stream": streamed})
    assert answer.status_code == 200
    assert json.dumps({"error": ERROR}).replace(" ", "") in answer.text.replace(" ", "")
