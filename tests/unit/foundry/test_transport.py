"""One attempt: what is sent, how long it may take, and what a broken exchange proves."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from shared.foundry import errors
from shared.foundry.transport import Call, Transport
from shared.identity.credentials import ApiKeyCredential
from shared.identity.errors import IdentityError

URL = "https://acme.example/openai/v1/responses"
CALL = Call("POST", URL, {"input": "Grüß dich"})

Answer = Callable[[httpx.Request], httpx.Response]
Exchange = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def transport_to(answer: Answer) -> AsyncGenerator[Transport]:
    transport = Transport(ApiKeyCredential("secret"), pool_size=1, http=httpx.MockTransport(answer))
    yield transport
    await transport.aclose()


async def failure(answer: Answer) -> errors.FoundryError:
    async with transport_to(answer) as transport:
        with pytest.raises(errors.FoundryError) as caught:
            await transport.send(CALL, seconds=5)
    return caught.value


def raising(error: Exception, cause: Exception | None = None) -> Answer:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error from cause

    return answer


async def test_a_call_goes_out_with_credential_id_and_utf8_body() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"ok": True})

    async with transport_to(answer) as transport:
        await transport.send(CALL, seconds=5)
        await transport.send(Call("GET", URL, query={"limit": 2, "after": "a&b"}), seconds=5)
    posted, got = seen
    assert posted.headers["api-key"] == "secret"
    assert posted.headers["content-type"] == "application/json"
    assert posted.content == '{"input":"Grüß dich"}'.encode()
    assert posted.headers["user-agent"] == "agent-operating-system-foundry"
    assert got.content == b""
    assert "content-type" not in got.headers
    assert dict(got.url.params) == {"limit": "2", "after": "a&b"}
    ids = {request.headers["x-ms-client-request-id"] for request in seen}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        ({"x-request-id": "a", "apim-request-id": "b"}, "a"),
        ({"apim-request-id": "b"}, "b"),
    ],
)
async def test_the_services_request_id_is_kept(headers: dict[str, str], request_id: str) -> None:
    async with transport_to(lambda _: httpx.Response(200, json={}, headers=headers)) as transport:
        assert (await transport.send(CALL, seconds=5)).request_id == request_id
    refusal = await failure(lambda _: httpx.Response(400, json={}, headers=headers))
    assert refusal.request_id == request_id


async def test_without_one_the_id_we_sent_is_kept() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"sent": request.headers["x-ms-client-request-id"]})

    async with transport_to(answer) as transport:
        reply = await transport.send(CALL, seconds=5)
    assert reply.request_id == reply.body["sent"]


async def test_an_empty_answer_is_an_empty_object() -> None:
    async with transport_to(lambda _: httpx.Response(204)) as transport:
        assert (await transport.send(CALL, seconds=5)).body == {}


@pytest.mark.parametrize("content", [b"<html>welcome</html>", b'{"cut":', b"\xff", b"[]", b"5"])
async def test_an_answer_that_is_no_json_object_is_a_protocol_error(content: bytes) -> None:
    error = await failure(lambda _: httpx.Response(200, content=content))
    assert isinstance(error, errors.ProtocolError)
    assert error.request_id


async def test_an_answer_that_is_a_list_may_have_run() -> None:
    assert (await failure(lambda _: httpx.Response(200, content=b"[]"))).may_have_run


async def test_a_refusal_becomes_its_error() -> None:
    error = await failure(
        lambda _: httpx.Response(429, json={"error": {"code": "x"}}, headers={"retry-after": "2"})
    )
    assert isinstance(error, errors.RateLimitedError)
    assert error.retry_after == 2


@pytest.mark.parametrize(
    ("error", "may_have_run"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ReadError("cut"), True),
        (httpx.WriteError("cut"), True),
        (httpx.RemoteProtocolError("cut"), True),
        (httpx.ConnectTimeout("a cut connection looks like this"), True),
    ],
)
async def test_a_broken_exchange_says_whether_it_may_have_run(
    error: httpx.TransportError, may_have_run: bool
) -> None:
    got = await failure(raising(error))
    assert isinstance(got, errors.ServiceUnavailableError)
    assert got.may_have_run is may_have_run
    assert got.request_id


async def test_no_answer_in_time_is_a_timeout_that_may_have_run() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    transport = Transport(ApiKeyCredential("k"), pool_size=1, http=httpx.MockTransport(never))
    with pytest.raises(errors.TimeoutError, match=r"within 0\.05 s") as caught:
        await transport.send(CALL, seconds=0.05)
    assert caught.value.may_have_run
    assert isinstance(caught.value, TimeoutError)
    await transport.aclose()


class BrokenCredential:
    """A credential that can give nothing."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.closed = False

    async def headers(self, claims: str | None = None) -> dict[str, str]:
        raise self.error

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("transient", "kind"),
    [(False, errors.AuthenticationError), (True, errors.ServiceUnavailableError)],
)
async def test_a_token_that_cannot_be_had_is_one_of_our_errors(
    transient: bool, kind: type[errors.FoundryError]
) -> None:
    credential = BrokenCredential(IdentityError("no identity here", transient=transient))
    transport = Transport(
        credential, pool_size=1, http=httpx.MockTransport(lambda _: httpx.Response(200))
    )
    with pytest.raises(kind, match="no identity here") as caught:
        await transport.send(CALL, seconds=5)
    assert not caught.value.may_have_run
    await transport.aclose()
    assert credential.closed


async def test_a_claims_challenge_is_met_once_with_a_new_token() -> None:
    asked: list[str | None] = []

    class Challenged(ApiKeyCredential):
        async def headers(self, claims: str | None = None) -> dict[str, str]:
            asked.append(claims)
            return {"Authorization": f"Bearer {len(asked)}"}

    def answer(request: httpx.Request) -> httpx.Response:
        challenge = 'Bearer error="insufficient_claims", claims="eyJhIjoxfQ=="'
        if always or request.headers["authorization"] == "Bearer 1":
            return httpx.Response(401, headers={"www-authenticate": challenge})
        return httpx.Response(200, json={"ok": True})

    always = False
    transport = Transport(Challenged(""), pool_size=1, http=httpx.MockTransport(answer))
    assert (await transport.send(CALL, seconds=5)).body == {"ok": True}
    assert asked == [None, '{"a":1}']
    always = True
    with pytest.raises(errors.AuthenticationError):
        await transport.send(CALL, seconds=5)
    assert asked[2:] == [None, '{"a":1}']
    with pytest.raises(errors.AuthenticationError):
        async with transport.stream(CALL, silence=5, seconds=5):
            pass
    assert asked[4:] == [None, '{"a":1}']
    await transport.aclose()


async def test_what_was_not_refused_is_not_sent_again_whatever_its_header_says() -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        challenge = 'Bearer error="insufficient_claims", claims="eyJhIjoxfQ=="'
        return httpx.Response(200, headers={"www-authenticate": challenge}, json={})

    transport = Transport(ApiKeyCredential(""), pool_size=1, http=httpx.MockTransport(answer))
    await transport.send(CALL, seconds=5)
    assert len(sent) == 1
    await transport.aclose()


async def test_a_stream_begins_after_the_claims_challenge_is_met() -> None:
    class Challenged(ApiKeyCredential):
        async def headers(self, claims: str | None = None) -> dict[str, str]:
            return {"Authorization": f"Bearer {claims}"}

    async def body() -> AsyncGenerator[bytes]:
        yield b"data: 1\n\n"

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == "Bearer None":
            challenge = 'Bearer error="insufficient_claims", claims="eyJhIjoxfQ=="'
            return httpx.Response(401, headers={"www-authenticate": challenge})
        return httpx.Response(200, content=body())

    transport = Transport(Challenged(""), pool_size=1, http=httpx.MockTransport(answer))
    async with transport.stream(CALL, silence=5, seconds=5) as stream:
        assert b"".join([chunk async for chunk in stream.chunks]) == b"data: 1\n\n"
    await transport.aclose()


async def request_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


def answering(*pieces: bytes) -> Exchange:
    """Read the request, then send pieces and close."""

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return exchange


async def hang_up_at_once(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    return


@asynccontextmanager
async def loopback(exchange: Exchange) -> AsyncGenerator[tuple[Transport, Call]]:
    """The real HTTP stack, and a call to a server that behaves as told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await exchange(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    transport = Transport(ApiKeyCredential("k"), pool_size=2)
    port = server.sockets[0].getsockname()[1]
    try:
        yield transport, Call("POST", f"http://127.0.0.1:{port}/responses", {"input": "x"})
    finally:
        await transport.aclose()
        server.close()


def http_answer(body: bytes, headers: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (headers, size, body)


async def broken(exchange: Exchange) -> errors.FoundryError:
    async with loopback(exchange) as (transport, call):
        with pytest.raises(errors.FoundryError) as caught:
            await transport.send(call, seconds=10)
    return caught.value


async def test_the_real_stack_sends_and_reads() -> None:
    async with loopback(answering(http_answer(json.dumps({"a": 1}).encode()))) as (
        transport,
        call,
    ):
        assert (await transport.send(call, seconds=10)).body == {"a": 1}


async def test_a_port_nobody_listens_on_was_never_sent_to() -> None:
    async with loopback(hang_up_at_once) as (_, call):
        pass  # the server is gone now
    transport = Transport(ApiKeyCredential("k"), pool_size=1)
    with pytest.raises(errors.ServiceUnavailableError, match="cannot be reached") as caught:
        await transport.send(call, seconds=10)
    assert not caught.value.may_have_run
    await transport.aclose()


@pytest.mark.parametrize(
    "exchange",
    [
        pytest.param(hang_up_at_once, id="before the request is read"),
        pytest.param(answering(), id="after the request is read"),
        pytest.param(answering(b"HTTP/1.1 200 OK\r\nContent-"), id="inside the headers"),
        pytest.param(answering(http_answer(b'{"id":', length=100)), id="inside the body"),
    ],
)
async def test_a_cut_connection_may_have_run(exchange: Exchange) -> None:
    error = await broken(exchange)
    assert isinstance(error, errors.ServiceUnavailableError)
    assert error.may_have_run


GARBAGE: list[Any] = [
    pytest.param(answering(b"220 smtp.example ESMTP\r\n\r\n"), id="not HTTP"),
    pytest.param(
        answering(http_answer(b"not gzip", b"Content-Encoding: gzip\r\n")), id="false encoding"
    ),
    pytest.param(
        answering(http_answer(b"{}", b"X-Long: " + b"x" * 70_000 + b"\r\n")), id="huge header"
    ),
]


@pytest.mark.parametrize("exchange", GARBAGE)
async def test_an_answer_that_is_not_http_is_one_of_our_errors(exchange: Exchange) -> None:
    assert (await broken(exchange)).may_have_run


async def opening(*pieces: bytes, headers: bytes) -> errors.FoundryError | bytes:
    """What a stream with these headers holds, or how it fails."""
    head = b"HTTP/1.1 200 OK\r\n%bConnection: close\r\n\r\n" % headers
    async with loopback(answering(head, *pieces)) as (transport, call):
        try:
            async with transport.stream(call, silence=5, seconds=5) as stream:
                return b"".join([chunk async for chunk in stream.chunks])
        except errors.FoundryError as error:
            return error


FRAME = b"data: {}\n\n"
EVENTS = b"Content-Type: text/event-stream; charset=utf-8\r\n"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (FRAME, EVENTS),
        (FRAME, b""),
        (FRAME, EVENTS + b"Content-Encoding: identity\r\n"),
        (gzip.compress(FRAME, mtime=0), EVENTS + b"Content-Encoding: gzip\r\n"),
        (zlib.compress(FRAME), EVENTS + b"Content-Encoding: deflate\r\n"),
    ],
)
async def test_a_stream_is_read_however_it_is_packed(body: bytes, headers: bytes) -> None:
    assert await opening(body, headers=headers) == FRAME


@pytest.mark.parametrize(
    ("body", "headers", "named"),
    [
        (b"<html>secret", b"Content-Type: Text/HTML; charset=utf-8\r\n", "text/html"),
        (b"secret", b"Content-Type: text/plain\r\n", "text/plain"),
        (b"secret", b"Content-Type: application/gzip\r\n", "application/gzip"),
        (b" <!doctype html>secret", b"", "a page without a content type"),
        (gzip.compress(FRAME, mtime=0), EVENTS, "compressed body that it does not declare"),
        (gzip.compress(FRAME, mtime=0), b"", "compressed body that it does not declare"),
        (b"secret", EVENTS + b"Content-Encoding: br\r\n", "'br'"),
        (b"secret", EVENTS + b"Content-Encoding: gzip\r\n", "cannot be decompressed"),
        (b"{secret", b"Content-Type: application/json\r\n", "not JSON"),
        (b"[1]", b"Content-Type: application/json\r\n", "not an object"),
    ],
)
async def test_what_is_no_stream_is_named_and_not_repeated(
    body: bytes, headers: bytes, named: str
) -> None:
    error = await opening(body, headers=headers)
    assert isinstance(error, errors.ProtocolError)
    assert named in error.message
    assert "secret" not in error.message
    assert error.may_have_run


async def test_a_whole_answer_in_place_of_a_stream_is_read() -> None:
    body = json.dumps({"status": "completed"}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    async with (
        loopback(answering(head, body[:5], body[5:])) as (transport, call),
        transport.stream(call, silence=5, seconds=5) as stream,
    ):
        assert stream.whole == {"status": "completed"}


async def test_the_time_of_a_stream_does_not_strike_what_is_done_with_a_piece() -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield FRAME
        await asyncio.Event().wait()

    transport = Transport(
        ApiKeyCredential(""),
        pool_size=1,
        http=httpx.MockTransport(lambda _: httpx.Response(200, content=body())),
    )
    done = False
    with pytest.raises(errors.TimeoutError):
        async with transport.stream(CALL, silence=5, seconds=0.05) as stream:
            async for _ in stream.chunks:
                await asyncio.sleep(0.1)  # as a row is written
                done = True
    assert done
    await transport.aclose()
