"""Which pages may call the MCP face."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from shared.config import AccessSettings
from shared.mcp.origins import FOREIGN_PAGE, Origins
from shared.problems import ProblemError

IN_AZURE = AccessSettings(
    host_name="app.azurewebsites.net",
    mcp_origins="https://Chat.contoso.com, https://b.example:8443",
)
LOCAL = AccessSettings()


def allows(settings: AccessSettings, host: str, *origins: str) -> bool:
    named = [(b"origin", origin.encode()) for origin in origins]
    headers = [(b"host", host.encode()), *named]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "scheme": "http"}
    try:
        Origins(settings).check(Request(scope))
    except ProblemError as error:
        return error.problem != FOREIGN_PAGE
    return True


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [
        ([], True),
        (["https://app.azurewebsites.net"], True),
        (["https://chat.contoso.com"], True),
        (["https://b.example:8443"], True),
        (["https://b.example"], False),
        (["http://app.azurewebsites.net"], False),
        (["http://localhost:3000"], False),
        (["null"], False),
        ([""], False),
        (["https://chat.contoso.com", "https://evil.example"], False),
        (["https://chat.contoso.com.evil.example"], False),
    ],
)
def test_in_azure_the_apps_own_page_and_those_listed_may_call(
    origins: list[str], allowed: bool
) -> None:
    assert allows(IN_AZURE, "app.azurewebsites.net", *origins) is allowed


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("127.0.0.1:7071", "http://localhost:6274", True),
        ("localhost:7071", "http://[::1]:80", True),
        ("evil.example:7071", "http://evil.example:7071", False),
        ("localhost:7071", "http://evil.example", False),
        ("localhost:7071", "http://[::1", False),
        ("a b", "http://localhost", False),
    ],
)
def test_a_page_of_this_machine_may_call_an_app_of_this_machine(
    host: str, origin: str, allowed: bool
) -> None:
    assert allows(LOCAL, host, origin) is allowed
