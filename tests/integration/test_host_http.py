"""HTTP functions on the local host: routes, keys, responses, streams."""

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest

from local.services import FunctionsHost, HostLaunch, functions_host
from tests.support import forking
from tests.support.waiting import eventually

from .conftest import SAMPLE_APP


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/api/things/special", {"function": "get_special"}),
        ("GET", "/API/Things/SPECIAL", {"function": "get_special"}),
        ("GET", "/api/things/special/", {"function": "get_special"}),
        ("GET", "/api/things/42", {"function": "get_thing", "id": "42"}),
        ("GET", "/api/things/a%20b", {"function": "get_thing", "id": "a b"}),
        ("GET", "/api/things/a%2Fb", {"function": "get_thing", "id": "a%2Fb"}),
        ("PATCH", "/api/things/1/parts/2", {"function": "patch_part", "id": "1", "part": "2"}),
        ("POST", "/api/unrouted", {"echo": {"a": 1}}),
        ("DELETE", "/api/things/42", {"function": "z_fallback", "rest": "things/42"}),
        ("GET", "/api/no/such/thing", {"function": "z_fallback", "rest": "no/such/thing"}),
        ("GET", "/api", {"function": "z_fallback", "rest": ""}),
    ],
)
async def test_a_request_reaches_the_first_function_by_name_that_fits(
    caller: httpx.AsyncClient, method: str, path: str, answer: dict[str, object]
) -> None:
    response = await caller.request(method, path, json={"a": 1})
    assert response.status_code == 200
    assert response.json() == answer


async def test_outside_the_route_prefix_there_is_nothing_but_the_hosts_own_pages(
    caller: httpx.AsyncClient,
) -> None:
    unknown = await caller.get("/things/42")
    assert (unknown.status_code, unknown.content) == (404, b"")
    assert (await caller.get("/")).status_code == 200
    assert (await caller.get("/admin/host/status")).json()["state"] == "Running"


async def test_a_function_sees_the_request_as_the_hosts_proxy_sends_it_on(
    caller: httpx.AsyncClient, shared_host: FunctionsHost
) -> None:
    forged = {
        "host": "agents.example.com",
        "x-forwarded-host": "evil.example.com",
        "x-forwarded-proto": "https",
        "x-forwarded-for": "10.0.0.1",
        "x-ms-invocation-id": "chosen-by-the-caller",
        "connection": "close",
        "te": "trailers",
        "proxy-authorization": "Basic eDp5",
        "x-kept": "yes",
    }
    seen = (await caller.post("/api/echo/a%2Fb%20c", headers=forged, content=b"hi")).json()
    headers = seen["headers"]
    assert headers["host"].startswith("127.0.0.1:")
    assert headers["x-forwarded-host"] == "agents.example.com"
    assert (headers["x-forwarded-proto"], headers["x-forwarded-for"]) == ("http", "127.0.0.1")
    assert headers["x-ms-invocation-id"] in shared_host.log_path.read_text()
    assert {"connection", "te", "proxy-authorization"}.isdisjoint(headers)
    assert (headers["x-kept"], headers["content-length"], seen["body"]) == ("yes", "2", "hi")
    assert (seen["path"], seen["raw_path"]) == ("/api/echo/a%2Fb c", "/api/echo/a%252Fb%20c")


async def test_a_path_with_a_null_character_reaches_no_function(caller: httpx.AsyncClient) -> None:
    assert (await caller.get("/api/things/a%00")).status_code == 400


async def test_a_request_without_a_body_is_sent_again_to_a_worker_that_goes_away(
    caller: httpx.AsyncClient, shared_host: FunctionsHost
) -> None:
    fault = {"x-local-host-fault": "drop-answer"}
    seen = (await caller.post("/api/echo/x", headers=fault)).json()
    invocation_id = seen["headers"]["x-ms-invocation-id"]
    log = shared_host.log_path.read_text()
    assert len(re.findall(f"Executing echo .*{invocation_id}", log)) == 2
    lost = await caller.post("/api/echo/x", headers=fault, content=b"a body")
    assert (lost.status_code, lost.content) == (502, b"")


async def test_a_timer_runs_when_it_is_asked_to(caller: httpx.AsyncClient) -> None:
    async def runs() -> int:
        return len((await caller.get("/api/seen")).json()["timers"])

    await eventually(runs)  # at the start
    before = await runs()
    assert (await caller.post("/admin/functions/TICK", json={})).status_code == 202
    assert await runs() == before + 1
    for other in ("seen", "no-such-function"):
        assert (await caller.post(f"/admin/functions/{other}", json={})).status_code == 404


async def test_a_function_that_asks_for_it_gets_its_invocation_context(
    caller: httpx.AsyncClient, shared_host: FunctionsHost
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    context = (await caller.get("/api/who", headers={"traceparent": trace})).json()
    assert (context["name"], context["trace_parent"]) == ("who", trace)
    assert context["invocation_id"] in shared_host.log_path.read_text()


async def test_a_plain_function_runs_in_a_thread(caller: httpx.AsyncClient) -> None:
    assert (await caller.get("/api/blocking")).json() == {"in_main_thread": False}


async def test_a_failing_function_answers_500_without_its_text_and_is_logged(
    caller: httpx.AsyncClient, shared_host: FunctionsHost
) -> None:
    response = await caller.get("/api/broken")
    assert (response.status_code, response.content) == (500, b"Internal Server Error")
    log = shared_host.log_path.read_text()
    assert "RuntimeError: a secret detail" in log
    assert re.search(r"broken raised \(id=[0-9a-f-]{36}\)", log)


async def test_the_first_byte_of_a_stream_leaves_before_the_second_exists(
    caller: httpx.AsyncClient,
) -> None:
    async with caller.stream("GET", "/api/stream") as response:
        lines = response.aiter_lines()
        assert await asyncio.wait_for(anext(lines), 10) == "first"
        await caller.post("/api/stream/continue")
        assert await asyncio.wait_for(anext(lines), 10) == "second"


async def test_a_function_sees_that_its_caller_left(caller: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await caller.get("/api/wait-for-disconnect", timeout=0.5)

    async def noticed() -> bool:
        return bool((await caller.get("/api/seen")).json()["disconnected"])

    await eventually(noticed)


async def test_hundreds_of_slow_requests_run_at_once(shared_host: FunctionsHost) -> None:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=shared_host.url, limits=limits, timeout=60) as client:
        answers = await asyncio.gather(
            *(client.get("/api/slow", params={"seconds": 1}) for _ in range(300))
        )
    assert {answer.status_code for answer in answers} == {200}


def test_keys_are_asked_for_once_they_are_configured(
    sample_settings: dict[str, str], tmp_path: Path
) -> None:
    settings = {"Host": {"FunctionKey": "fk", "MasterKey": "mk"}, "Values": {}}
    (tmp_path / "keys.json").write_text(json.dumps(settings))
    app = tmp_path / "app"
    app.mkdir()
    for file in ("function_app.py", "host.json"):
        (app / file).write_text((SAMPLE_APP / file).read_text())
    (app / "local.settings.json").write_text(json.dumps(settings))
    launch = HostLaunch(app_dir=app, environment=sample_settings, spawn=forking.spawn)
    with (
        functions_host(tmp_path, launch) as host,
        httpx.Client(base_url=host.url) as client,
    ):

        def status(path: str, **headers: str) -> int:
            return client.get(path, headers=headers).status_code

        assert status("/api/who") == 200
        assert status("/api/guarded") == 401
        assert status("/api/guarded?code=wrong") == 401
        assert status("/api/guarded?code=fk") == 200
        assert status("/api/guarded", **{"x-functions-key": "fk"}) == 200
        assert status("/api/guarded", **{"x-functions-key": "mk"}) == 200
        assert status("/api/for_admins", **{"x-functions-key": "fk"}) == 401
        assert status("/api/for_admins", **{"x-functions-key": "mk"}) == 200
        timer = f"{host.url}/admin/functions/tick"
        for key, answer in (("fk", 401), ("mk", 202)):
            assert httpx.post(timer, headers={"x-functions-key": key}).status_code == answer


def test_a_function_and_the_home_page_can_be_disabled_by_settings(
    sample_settings: dict[str, str], tmp_path: Path
) -> None:
    disabled = {"AzureWebJobs.tick.Disabled": "true", "AzureWebJobs.get_special.Disabled": "True"}
    disabled["AzureWebJobsDisableHomepage"] = "true"
    environment = {**sample_settings, **disabled}
    launch = HostLaunch(app_dir=SAMPLE_APP, environment=environment, spawn=forking.spawn)
    with (
        functions_host(tmp_path, launch) as host,
        httpx.Client(base_url=host.url) as client,
    ):
        assert client.get("/").status_code == 204
        assert client.get("/api/things/special").json()["function"] == "get_thing"
        assert client.post("/admin/functions/tick").status_code == 404
        assert client.get("/api/seen").json()["timers"] == []


async def test_without_configured_keys_every_function_is_open(caller: httpx.AsyncClient) -> None:
    assert (await caller.get("/api/guarded")).text == "open"
    assert (await caller.get("/api/for_admins")).text == "open"
