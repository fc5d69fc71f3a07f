"""Once imported, lets all HTTP clients of a process and of its forks trust the same object.

Each would read the web's certificate authorities anew, in 50 ms, and a run of all tests makes two
thousand clients, nearly all of which speak plain HTTP with this machine.
"""

import os
import ssl
from functools import cache
from typing import Any

import httpx
from httpx._transports import default

_create = httpx.create_ssl_context


def _shared(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    """What `httpx.create_ssl_context` returns; that of the usual authorities is shared."""
    if verify is not True or cert is not None or not trust_env:
        return _create(verify, cert, trust_env)
    return _usual(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _usual(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    return _create()


httpx.create_ssl_context = _shared
default.create_ssl_context = _shared  # pyright: ignore[reportPrivateImportUsage]
_shared()  # before a fork
