"""Outgoing requests: which proxy they use, which certificates they trust, and why they fail.

`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` choose the proxy, in either case;
`SSL_CERT_FILE` or `SSL_CERT_DIR` replaces the authorities that are trusted. Azure's own libraries,
which reach storage and sign in, obey the same variables.

aiohttp takes a seventh of the time of the app's import, and the certificates as long again. So both
are loaded when the first connection needs them, or earlier by `warm_up`.
"""

from __future__ import annotations

import errno
import os
import ssl
from contextlib import suppress
from functools import cache, partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, cast
from urllib.request import getproxies, proxy_bypass

import httpx

if TYPE_CHECKING:
    import aiohttp

PROXY_SIGN_IN = (
    "the proxy wants a user and a password (407); write them into the proxy's setting, as in "
    "HTTPS_PROXY=http://user:password@host:port"
)

_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT}


class OutboundSettingsError(ValueError):
    """An environment variable for a proxy or certificates cannot be used; the text names it."""


def broken() -> tuple[type[Exception], ...]:
    """All failures of a connection; some errors of aiohttp are not translated by the transport."""
    import aiohttp

    return httpx.RequestError, aiohttp.ClientError


def was_never_sent(cause: BaseException | None) -> bool:
    """Whether a failure came before a request was sent."""
    import aiohttp

    before = aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError
    return isinstance(cause, (*before, aiohttp.ClientHttpProxyError))


def warm_up() -> None:
    """Load what the first request would load; takes up to 0.2 s, and may run in any thread."""
    import httpx_aiohttp as _  # noqa: F401

    with suppress(OutboundSettingsError):  # the first request raises it
        _trusted()


def _trusted() -> ssl.SSLContext:
    """The authorities that are trusted.

    Raises:
        OutboundSettingsError: if they cannot be read.
    """
    try:
        return _read_authorities(*map(os.environ.get, _AUTHORITIES))
    except (OSError, ssl.SSLError) as error:
        raise OutboundSettingsError(
            "SSL_CERT_FILE or SSL_CERT_DIR names no readable certificates: it must be a PEM file "
            "with every authority to trust, or a directory of them."
        ) from error


@cache
def _read_authorities(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    """What the variables name, or else the usual authorities: 50 ms, so once for all hosts."""
    return httpx.create_ssl_context()


def open_http(url: str, limits: httpx.Limits | None = None) -> httpx.AsyncBaseTransport:
    """The HTTP transport to the host of ``url``.

    Raises:
        OutboundSettingsError: naming the variable that cannot be used.
    """
    from httpx_aiohttp import AiohttpTransport

    proxy = proxy_for(url)
    limits = limits or httpx.Limits(max_connections=100)
    trust = _trusted()
    transport = AiohttpTransport(trust, limits=limits, proxy=proxy)
    transport.client = partial(_session, trust, limits)
    return transport


async def read_body(response: httpx.Response) -> bytes:
    """The whole body of an answer; httpx itself reads it only where it has to decompress it."""
    if "content-encoding" in response.headers:
        return await response.aread()
    stream = cast("httpx.AsyncByteStream", response.stream)
    return b"".join([chunk async for chunk in stream])


def _session(trust: ssl.SSLContext, limits: httpx.Limits) -> aiohttp.ClientSession:
    """A session without cookies, which would bind all requests to one server of many."""
    import aiohttp

    connector = aiohttp.TCPConnector(
        limit=limits.max_connections or 0, keepalive_timeout=limits.keepalive_expiry, ssl=trust
    )
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def proxy_for(url: str) -> httpx.Proxy | None:
    """The proxy for the host of ``url``; this machine itself needs none.

    Raises:
        OutboundSettingsError: if it is not an HTTP proxy.
    """
    target = httpx.URL(url)
    proxies = getproxies()
    given = (proxies.get(target.scheme) or proxies.get("all") or "").strip()
    if not given or _is_this_machine(target.host) or proxy_bypass(target.netloc.decode()):
        return None
    try:
        proxy = httpx.URL(given if "://" in given else f"http://{given}")
    except httpx.InvalidURL:
        proxy = httpx.URL()
    if proxy.scheme not in {"http", "https"} or not proxy.host:
        raise OutboundSettingsError(
            f"{target.scheme.upper()}_PROXY (or ALL_PROXY) must be the URL of an HTTP proxy, as in "
            "http://proxy.example:8080."
        )
    headers: dict[str, str] = {}
    if proxy.username:
        import aiohttp

        headers["Proxy-Authorization"] = aiohttp.encode_basic_auth(proxy.username, proxy.password)
    return httpx.Proxy(proxy.copy_with(userinfo=b""), headers=headers)


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def why_unreachable(error: Exception) -> str:
    """Why a connection failed and what to do, as a part of a sentence; empty if unknown."""
    import aiohttp

    cause = error if isinstance(error, aiohttp.ClientError) else _cause(error)
    match cause:
        case aiohttp.ClientHttpProxyError():
            return _why_proxy_refused(cause)
        case aiohttp.ClientProxyConnectionError():
            return (
                f"the proxy {cause.host} does not answer; check HTTPS_PROXY, and NO_PROXY for "
                "hosts that need none"
            )
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return _why_not_trusted(cause)
        case aiohttp.ClientConnectorDNSError():
            return (
                f"the name {cause.host} is not resolved; check its spelling and, for a private "
                "endpoint, the private DNS zone"
            )
        case aiohttp.ClientConnectorError():
            return _why_not_connected(cause)
        case aiohttp.ConnectionTimeoutError():
            return "no connection was established in time; a firewall may drop it without an answer"
        case _:
            return ""


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__


def _why_proxy_refused(error: aiohttp.ClientHttpProxyError) -> str:
    if error.status == 407:
        return PROXY_SIGN_IN
    return f"the proxy refused to connect ({error.status}); allow the host there, or in NO_PROXY"


def _why_not_trusted(
    error: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError,
) -> str:
    if isinstance(found := _cause(error), ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({found.verify_message.rstrip('.')}); where it is "
            "your own, or a proxy inspects TLS, set SSL_CERT_FILE to a PEM file that holds the "
            "authority's certificate beside the public ones"
        )
    return f"TLS failed with {error.host}; check that it speaks TLS on port {error.port}"


def _why_not_connected(error: aiohttp.ClientConnectorError) -> str:
    place = f"{error.host}:{error.port}"
    if error.os_error.errno == errno.ECONNREFUSED:
        return f"{place} refused the connection; nothing listens there, or a firewall rejects it"
    if error.os_error.errno in _NO_ROUTE:
        return f"no route leads to {place}; check the virtual network and its rules"
    return f"no connection to {place} ({error.os_error.strerror or 'no reason given'})"
