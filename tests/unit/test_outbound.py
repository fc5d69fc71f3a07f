"""How requests leave: by the environment's proxy and authorities, or with a reason why not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from yarl import URL

from local.processes import free_port
from shared.config import (
    CallbackSettings,
    FoundryAgentServiceConfig,
    IdentitySettings,
    ModelSettings,
)
from shared.foundry.errors import ConfigurationError, FoundryError, ServiceUnavailableError
from shared.foundry.models import TurnRequest
from shared.foundry.service import FoundryService
from shared.identity.errors import ExchangeError, Leg
from shared.identity.token_endpoint import TokenEndpoint
from shared.jobs.callbacks.webhooks import Webhooks
from shared.orchestration.providers import ChatServers
from shared.outbound import OutboundSettingsError, open_http, proxy_for
from shared.state import table_wire
from shared.state.azure_table import TABLE_STORAGE
from shared.state.errors import StorageUnavailableError
from shared.state.service import Endpoint, StorageService
from shared.state.signing import SharedKey, table_text
from tests.support.proxying import DOMAIN, HOSTS, PASSWORD, Proxy, running_proxy

FOUNDRY, VLLM, LOGIN, STORAGE = HOSTS
VARIABLES = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")


@pytest.fixture
async def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    """A proxy that the environment names, and the authority behind it, trusted."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    async with running_proxy(tmp_path) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(proxy.certificate.path))
        yield proxy


def config(**settings: object) -> FoundryAgentServiceConfig:
    given = {"endpoint_url": f"https://{FOUNDRY}/openai/v1", "api_key": "k", "max_retries": 0}
    return FoundryAgentServiceConfig.model_validate({**given, **settings})


async def ask_foundry() -> str:
    service = FoundryService(config())
    try:
        return (await service.respond(TurnRequest("Hi"), seconds=10)).content
    finally:
        await service.aclose()


async def ask_vllm() -> str:
    models = ModelSettings(vllm_server_url=f"https://{VLLM}", vllm_api_key="k")
    (backend,) = ChatServers(models, config(), IdentitySettings()).backends()
    try:
        await backend.check()
    finally:
        await backend.aclose()
    return "m"


async def ask_entra() -> str:
    endpoint = TokenEndpoint(f"https://{LOGIN}", "tenant")
    try:
        return (await endpoint.post(Leg.AGENT, {})).token
    finally:
        await endpoint.aclose()


async def ask_storage() -> str:
    key = SharedKey("account", "a2V5", table_text)
    service = StorageService(TABLE_STORAGE, Endpoint(f"https://{STORAGE}", key)).join()
    try:
        return str((await service.send(table_wire.read("rows", "p", "r"))).status)
    finally:
        await service.aclose()


CLIENTS: dict[str, Callable[[], Awaitable[str]]] = {
    FOUNDRY: ask_foundry,
    VLLM: ask_vllm,
    LOGIN: ask_entra,
    STORAGE: ask_storage,
}


@pytest.fixture(params=CLIENTS)
def host(request: pytest.FixtureRequest) -> str:
    """Each place that the app sends requests to."""
    return request.param


async def reason(host: str) -> str:
    """Why a request to a host fails."""
    unreachable = (ServiceUnavailableError, ExchangeError, StorageUnavailableError)
    with pytest.raises(unreachable) as caught:
        await CLIENTS[host]()
    if isinstance(caught.value, FoundryError):
        assert not caught.value.may_have_run
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


async def test_requests_go_through_the_proxy_and_trust_its_authority(
    proxy: Proxy, host: str
) -> None:
    assert await CLIENTS[host]()
    assert set(proxy.tunnels) == {host}


async def test_a_host_that_needs_no_proxy_is_reached_directly(
    proxy: Proxy, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", f"example.com, .{DOMAIN}")
    assert f"the name {host} is not resolved" in await reason(host)
    assert proxy.tunnels == []


async def test_an_authority_that_is_not_trusted_is_named(
    proxy: Proxy, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    text = await reason(host)
    assert "its certificate is not trusted (self-signed certificate" in text
    assert "SSL_CERT_FILE" in text


async def test_a_proxy_that_wants_a_sign_in_is_named(
    proxy: Proxy, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url_without_user)
    assert "the proxy wants a user and a password (407)" in await reason(host)


async def test_a_proxy_that_refuses_is_named(proxy: Proxy, host: str) -> None:
    proxy.status = 403
    assert "the proxy refused to connect (403)" in await reason(host)


async def test_a_proxy_that_is_not_there_is_named(
    proxy: Proxy, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{free_port()}")
    assert "the proxy 127.0.0.1 does not answer" in await reason(host)


async def test_a_refused_connection_is_named() -> None:
    port = free_port()
    service = FoundryService(config(endpoint_url=f"http://127.0.0.1:{port}/openai/v1"))
    with pytest.raises(ServiceUnavailableError, match=f"127.0.0.1:{port} refused the connection"):
        await service.respond(TurnRequest("Hi"), seconds=10)
    await service.aclose()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("HTTPS_PROXY", "socks5://proxy:1080"),
        ("HTTPS_PROXY", "http://"),
    ],
)
async def test_a_variable_that_cannot_be_used_is_named(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=variable):
        FoundryService(config()).connect()
    with pytest.raises(ValueError, match=variable):
        TokenEndpoint(f"https://{LOGIN}", "tenant")
    with pytest.raises(StorageUnavailableError, match=variable):
        await ask_storage()


@pytest.mark.parametrize(
    ("url", "through"),
    [
        ("https://a.example/x", "http://secure:1"),
        ("http://a.example", "http://plain:2"),
        ("https://localhost:8", None),
        ("https://127.0.0.1", None),
        ("https://[::1]:9", None),
        ("https://in.example.com", None),
        ("https://example.org:8443", None),
        ("https://example.org", "http://secure:1"),
    ],
)
def test_the_proxy_of_an_address(
    monkeypatch: pytest.MonkeyPatch, url: str, through: str | None
) -> None:
    monkeypatch.setenv("https_proxy", "secure:1")
    monkeypatch.setenv("http_proxy", "http://plain:2")
    monkeypatch.setenv("no_proxy", "example.com,example.org:8443")
    proxy = proxy_for(url)
    assert (str(proxy.url) if proxy else None) == through


def test_the_last_resort_is_all_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert proxy_for("https://a.example") is None
    monkeypatch.setenv("ALL_PROXY", "https://all:3")
    proxy = proxy_for("https://a.example")
    assert proxy is not None
    assert str(proxy.url) == "https://all:3"
    monkeypatch.setenv("ALL_PROXY", "ftp://all")
    with pytest.raises(OutboundSettingsError, match="ALL_PROXY"):
        proxy_for("https://a.example")


async def test_callbacks_use_no_proxy(proxy: Proxy) -> None:
    webhooks = Webhooks(
        CallbackSettings(callback_secret="whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA==")
    )
    session = webhooks._session(URL(f"https://{FOUNDRY}/hook"))  # pyright: ignore[reportPrivateUsage]
    assert not session.trust_env
    await webhooks.aclose()


async def test_no_cookie_is_kept_for_the_next_request() -> None:
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
            except asyncio.IncompleteReadError:
                break
            writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: server=7\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "localhost", 0) as server:
        url = f"http://localhost:{server.sockets[0].getsockname()[1]}/"
        http = open_http(url)
        for _ in range(2):
            response = await http.handle_async_request(httpx.Request("GET", url))
            await response.aread()
            await response.aclose()
        await http.aclose()
    assert len(heads) == 2
    assert b"cookie" not in heads[1].lower()
