"""Each kind of caller on every route: a resource of another owner looks exactly like a missing one.

The routes come from the app itself, so that one without a row here fails.
"""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import httpx
import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue.aio import QueueClient
from ulid import ULID

from local.processes import Command
from local.services import ROOT, Azurite, FoundryEmulator
from shared.config import POISON_SUFFIX
from shared.routes import BASE
from tests.support import forking
from tests.support.asking import ended, say, submit
from tests.support.callers import (
    ACCESS,
    ADMIN,
    BEARER,
    FOREIGN_TENANT,
    FUNCTION_KEY,
    OTHER,
    OTHER_TENANT,
    OWNER,
    OWNER_KEY,
    PRINCIPAL_HEADER,
    TENANT,
    claims_of,
    document,
    encoded,
    known,
)
from tests.support.served import REJECTED_PARTITION, Deployment
from tests.support.serving import serve
from tests.support.waiting import eventually

CONVERSATION, ITEM_ID = "conversation_id", "item_id"
THREAD, JOB, KEY, RESPONSE = "thread_id", "job_id", "key_id", "response_id"
OF_EVERYONE = {"model_id": "llama-3.3-70b"}
MISSING = {
    THREAD: f"thread_{ULID()}",
    JOB: f"job_{ULID()}",
    KEY: "0123456789",
    RESPONSE: f"resp_{ULID()}",
    CONVERSATION: f"conv_{ULID()}",
    ITEM_ID: "msg_a",
}


@dataclass(frozen=True)
class Row:
    """How a route is called, and what about: ``{thread_id}`` stands in the path or the body."""

    about: str | None = None
    body: dict[str, Any] | None = None
    open: bool = False
    admins_only: bool = False


SAY = {"message": "Hi"}
CHAT = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": "Hi"}]}
RESPOND = {"model": "llama-3.3-70b", "input": "Hi", "background": True}
ITEM = {"role": "user", "content": "Hi"}
SAID = {"user_input": "Hi", "conversation_id": "a"}
ROWS = {
    "POST messages": Row(body=SAY),
    "POST threads": Row(body={}),
    "GET threads": Row(),
    "GET threads/{thread_id}": Row(THREAD),
    "PATCH threads/{thread_id}": Row(THREAD, {"metadata": {"a": "b"}}),
    "DELETE threads/{thread_id}": Row(THREAD),
    "GET threads/{thread_id}/messages": Row(THREAD),
    "POST threads/{thread_id}/messages": Row(THREAD, SAY),
    "POST jobs": Row(THREAD, {**SAY, "thread_id": "{thread_id}"}),
    "GET jobs": Row(),
    "GET jobs/{job_id}": Row(JOB),
    "POST jobs/{job_id}/cancel": Row(JOB),
    "POST orchestrate": Row(body=SAID),
    "POST mcp": Row(body={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    "GET me": Row(),
    "DELETE me/data": Row(),
    "GET models": Row(),
    "GET tools": Row(),
    "GET metrics": Row(),
    "GET usage": Row(),
    "GET metrics/prometheus": Row(admins_only=True),
    "GET audit": Row(),
    "POST keys": Row(body={"label": "a key"}, admins_only=True),
    "GET keys": Row(admins_only=True),
    "GET keys/{key_id}": Row(admins_only=True),
    "DELETE keys/{key_id}": Row(admins_only=True),
    "GET v1/models": Row(),
    "GET v1/models/{model_id}": Row(),
    "POST v1/chat/completions": Row(body=CHAT),
    "POST v1/responses": Row(body=RESPOND),
    "GET v1/responses/{response_id}": Row(RESPONSE),
    "DELETE v1/responses/{response_id}": Row(RESPONSE),
    "POST v1/responses/{response_id}/cancel": Row(RESPONSE),
    "GET v1/responses/{response_id}/input_items": Row(RESPONSE),
    "POST v1/conversations": Row(body={}),
    "GET v1/conversations/{conversation_id}": Row(CONVERSATION),
    "POST v1/conversations/{conversation_id}": Row(CONVERSATION, {"metadata": {}}),
    "DELETE v1/conversations/{conversation_id}": Row(CONVERSATION),
    "GET v1/conversations/{conversation_id}/items": Row(CONVERSATION),
    "POST v1/conversations/{conversation_id}/items": Row(CONVERSATION, {"items": [ITEM]}),
    "GET v1/conversations/{conversation_id}/items/{item_id}": Row(CONVERSATION),
    "DELETE v1/conversations/{conversation_id}/items/{item_id}": Row(CONVERSATION),
    "GET health": Row(open=True),
    "GET openapi.json": Row(open=True),
    "GET docs": Row(open=True),
    "GET docs/start.js": Row(open=True),
    "GET docs/swagger-ui.css": Row(open=True),
    "GET docs/swagger-ui-bundle.js": Row(open=True),
    "GET health/ready": Row(),
    "GET console": Row(open=True),
    "GET console/{file}": Row(open=True),
    "GET console/{folder}/{file}": Row(open=True),
    **{
        f"{method} {{*path}}": Row(open=True)
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    },
}
ROWS |= {
    route.replace("GET", "HEAD", 1): row for route, row in ROWS.items() if route.startswith("GET ")
}
OTHER_TRIGGERS = {
    ("queueTrigger", "receive_job"): "test_the_intake_queue_gives_no_owner_the_thread_of_another",
    ("queueTrigger", "fail_job"): "test_the_intake_queue_gives_no_owner_the_thread_of_another",
    ("queueTrigger", "run_lane"): "test_a_wake_up_for_another_owners_lane_does_nothing",
    ("queueTrigger", "fail_lane"): "test_a_wake_up_for_another_owners_lane_does_nothing",
    ("timerTrigger", "sweep_lanes"): "takes nothing from outside",
    ("queueTrigger", "deliver_result"): "test_a_notice_about_another_owners_job_delivers_nothing",
    ("queueTrigger", "fail_delivery"): "test_a_notice_about_another_owners_job_delivers_nothing",
    ("timerTrigger", "sweep_deliveries"): "takes nothing from outside",
    ("timerTrigger", "expire_threads"): "takes nothing from outside",
    ("timerTrigger", "delete_old_records"): "takes nothing from outside",
    ("timerTrigger", "roll_up_metrics"): "takes nothing from outside",
}


@cache
def registered(**settings: str) -> list[tuple[str, dict[str, Any]]]:
    """Every function of the app, with its trigger."""
    environment = {"AzureWebJobsStorage": "UseDevelopmentStorage=true", **settings}
    arguments = [sys.executable, "-m", "tests.support.description"]
    with TemporaryDirectory() as folder:
        printed = Path(folder) / "printed"
        command = Command("description", arguments, printed, lambda: True, environment, ROOT)
        code = forking.spawn(command).wait(60)
        assert code == 0, printed.read_text()
        described = printed.read_text().splitlines()[-1]  # below what the app logs
        return [(name, trigger) for name, trigger in json.loads(described)]


def http_functions(**settings: str) -> dict[str, str]:
    """The key level of every route, by method and template, without `api/`."""
    return {
        f"{str(method).rpartition('.')[2]} {str(trigger['route']).removeprefix(BASE)}": str(
            trigger["authLevel"]
        ).lower()
        for _, trigger in registered(**settings)
        if str(trigger["type"]).endswith("httpTrigger")
        for method in trigger["methods"]
    }


def test_every_route_has_a_row() -> None:
    assert http_functions().keys() == ROWS.keys()


def test_every_other_trigger_has_a_test() -> None:
    triggers = {(str(trigger["type"]), name) for name, trigger in registered()}
    others = {pair for pair in triggers if pair[0] != "httpTrigger"}
    assert others == OTHER_TRIGGERS.keys()
    for (kind, _), test in OTHER_TRIGGERS.items():
        assert kind == "timerTrigger" or test in globals()


@pytest.mark.parametrize(
    ("mode", "asked"),
    [
        ("function", "function"),
        ("both", "function"),
        ("entra", "anonymous"),
        ("anonymous", "anonymous"),
        ("keys", "anonymous"),
    ],
)
def test_the_mode_decides_whether_the_host_asks_for_a_key(mode: str, asked: str) -> None:
    settings = {**ACCESS, "AUTH_MODE": mode, "AUTH_ANONYMOUS_CONFIRMED": "true"}
    for route, level in http_functions(**settings).items():
        assert level == ("anonymous" if ROWS[route].open else asked), route


FORGED_CLAIMS = claims_of(TENANT, OWNER, "Agents.Use", "Agents.Admin")
CALLERS: dict[str, dict[str, str]] = {
    "other user, same tenant": known(TENANT, OTHER),
    "other tenant": known(OTHER_TENANT, OWNER),
    "tenant that is not let in": known(FOREIGN_TENANT, OWNER),
    "key caller": {},
    "forged: another provider": {PRINCIPAL_HEADER: encoded(document(FORGED_CLAIMS, "google"))},
    "forged: another issuer": {
        PRINCIPAL_HEADER: encoded(
            document(
                [("iss", "https://evil.example") if c[0] == "iss" else c for c in FORGED_CLAIMS]
            )
        )
    },
    "forged: not base64": {PRINCIPAL_HEADER: "-_" + known(TENANT, OWNER)[PRINCIPAL_HEADER][2:]},
    "forged: by name only": {"x-ms-client-principal-id": OWNER, "x-ms-client-principal-name": "o"},
    "client key": {},  # with a header of its own, `Apps.sent_by`
    "forged: a client key": {"x-api-key": "aos_0123456789_" + "x" * 51},
}
KEY_HEADER = {"x-functions-key": FUNCTION_KEY}
REFUSED, MISSED = 401, 404
SCOPE = "api://dddddddd-0000-4000-8000-000000000001/Agents.Use"
"""That MCP clients ask Entra for."""

SEEN_BY_ENTRA = {"other user, same tenant": MISSED, "other tenant": MISSED}
MODES: dict[str, tuple[dict[str, str], dict[str, int]]] = {
    "entra": (
        {"AUTH_MODE": "entra", "WEBSITE_AUTH_PRM_DEFAULT_WITH_SCOPES": SCOPE},
        SEEN_BY_ENTRA,
    ),
    "both": (
        {"AUTH_MODE": "both"},
        {
            **SEEN_BY_ENTRA,
            "key caller": MISSED,
            "forged: by name only": MISSED,
            "client key": MISSED,
        },
    ),
    "function": (
        {"AUTH_MODE": "function"},
        {**dict.fromkeys(CALLERS, MISSED), "forged: a client key": REFUSED},
    ),
    "keys": ({"AUTH_MODE": "keys"}, {"client key": MISSED}),
    "anonymous": (
        {"AUTH_MODE": "anonymous", "AUTH_ANONYMOUS_CONFIRMED": "true"},
        dict.fromkeys(CALLERS, MISSED),
    ),
    "entra, with App Service authentication off": (
        {"AUTH_MODE": "entra", "WEBSITE_AUTH_ENABLED": "false"},
        {},
    ),
}
"""Settings of each mode, and who gets a 404 in it; everybody else gets a 401."""

ASKING = [mode for mode in MODES if mode != "anonymous"]
"""Modes in which whoever sends nothing is refused."""


class Connections(httpx.AsyncHTTPTransport):
    """The connections of all callers, which outlive each of them."""

    def __init__(self) -> None:
        super().__init__(limits=httpx.Limits(max_keepalive_connections=20))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stay open: a caller has ended."""


@dataclass(frozen=True)
class Apps:
    """The app in every mode, on one storage account and one Foundry."""

    deployments: dict[str, Deployment]
    """By mode; all have the tables of one, and queues of their own."""
    urls: dict[str, str]
    thread_id: str = ""
    job_id: str = ""
    response_id: str = ""
    keys: tuple[str, str] = ("", "")
    """Two client keys, which own nothing."""
    connections: Connections = field(default_factory=Connections)

    def sent_by(self, name: str, mode: str) -> dict[str, str]:
        """The headers of one of the `CALLERS` in a mode, with a function key where needed."""
        needs_key = MODES[mode][0]["AUTH_MODE"] in {"function", "both"} or name == "key caller"
        own = {"x-api-key": self.keys[0]} if name == "client key" else CALLERS[name]
        return {**(KEY_HEADER if needs_key else {}), **own}

    @property
    def deployment(self) -> Deployment:
        """Of the mode `entra`."""
        return self.deployments["entra"]

    def caller(
        self, mode: str = "entra", headers: dict[str, str] | None = None
    ) -> httpx.AsyncClient:
        """A client with these headers; the request id is fixed, so that answers compare."""
        given = {"x-request-id": "compared", **(headers or {})}
        url = f"{self.urls[mode]}/api/"
        return httpx.AsyncClient(
            base_url=url, headers=given, timeout=30, transport=self.connections
        )

    def owner(self) -> httpx.AsyncClient:
        """A client of the owner of the thread and the job."""
        return self.caller(headers=known(TENANT, OWNER))

    @property
    def existing(self) -> dict[str, str]:
        """The owner's ids."""
        return {THREAD: self.thread_id, JOB: self.job_id, RESPONSE: self.response_id} | _of_thread(
            self.thread_id
        )


@pytest.fixture(scope="module")
async def apps(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Apps]:
    """The app in every mode, and a thread and a job of the owner's."""
    data = Deployment(azurite.connection_string, foundry)
    apps = Apps({}, {})
    with ExitStack() as running:
        for mode, (settings, _) in MODES.items():
            own = Deployment(azurite.connection_string, foundry)
            own = replace(own, table=data.table, audit=data.audit)
            folder = tmp_path_factory.mktemp("mode")
            host = running.enter_context(serve(own, folder, {**ACCESS, **settings}))
            apps.deployments[mode], apps.urls[mode] = own, host.url
        async with apps.owner() as owner:
            thread_id = (await owner.post("threads", json={})).json()[THREAD]
            await say(owner, thread_id, "My secret is swordfish-4711.")
            job_id = await submit(owner, message="Hi")
            await ended(owner, job_id)
            response_id = await responded(owner)
        async with apps.caller("function", KEY_HEADER) as operator:
            made = [await operator.post("keys", json={"label": "a key"}) for _ in range(2)]
        first, second = (each.json()["key"] for each in made)
        keys, made_by_owner = (first, second), {THREAD: thread_id, JOB: job_id}
        yield replace(apps, keys=keys, **made_by_owner, response_id=response_id)
        await apps.connections.aclose()


async def responded(owner: httpx.AsyncClient) -> str:
    """A response that has ended, which ran in the background."""
    response_id = (await owner.post("v1/responses", json=RESPOND)).json()["id"]

    async def has_ended() -> bool:
        read = (await owner.get(f"v1/responses/{response_id}")).json()
        return read["status"] == "completed"

    await eventually(has_ended)
    return response_id


def _of_thread(thread_id: str) -> dict[str, str]:
    """The ids of a thread, and of an item that is in none."""
    ulid = thread_id.partition("_")[2]
    return {THREAD: thread_id, CONVERSATION: f"conv_{ulid}", ITEM_ID: MISSING[ITEM_ID]}


async def made_for(route: str, owner: httpx.AsyncClient) -> dict[str, str]:
    """The ids of a new resource of the kind that a route is about."""
    about = ROWS[route].about
    if about == JOB:
        return {JOB: await submit(owner, message="Hi", not_before="2100-01-01T00:00:00Z")}
    if about == RESPONSE:
        return {RESPONSE: await responded(owner)}
    ids = _of_thread((await owner.post("threads", json={})).json()[THREAD])
    if ITEM_ID in route:
        ids[ITEM_ID] = await _item_of(owner, ids[CONVERSATION])
    return ids


async def _item_of(owner: httpx.AsyncClient, conversation_id: str) -> str:
    """An item that was added to a conversation."""
    address = f"v1/conversations/{conversation_id}/items"
    added = await owner.post(address, json={"items": [ITEM]})
    return added.json()["data"][0]["id"]


def filled(template: Any, ids: dict[str, str]) -> Any:
    """A path or body with ids in place of their names."""
    text = json.dumps(template)
    for name, value in {**OF_EVERYONE, **ids}.items():
        text = text.replace(f"{{{name}}}", value)
    return json.loads(text)


async def call(
    client: httpx.AsyncClient, route: str, ids: dict[str, str], accept: str = "*/*"
) -> httpx.Response:
    """Call a route about these ids."""
    method, _, template = route.partition(" ")
    body = filled(ROWS[route].body, ids)
    headers = {"accept": accept}
    return await client.request(method, filled(template, ids), json=body, headers=headers)


def comparable(answer: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """All that an answer says, but for the time."""
    passing = {"date", "x-overhead-ms", "openai-processing-ms"}
    headers = {name: value for name, value in answer.headers.items() if name not in passing}
    return answer.status_code, answer.content, headers


ACCEPTED = ("*/*", "text/event-stream")
"""A stream that is asked for is refused like any other answer."""

ASKS_EVERY_WAY = bool(os.environ.get("ASK_EVERY_WAY"))
"""Whether each caller asks both for JSON and for a stream, as in `make torture`."""


def accepted(number: int) -> tuple[str, ...]:
    """What to ask for: in turn, by a number, or everything."""
    return ACCEPTED if ASKS_EVERY_WAY else (ACCEPTED[number % 2],)


ABOUT_SOMETHING = [route for route, row in ROWS.items() if row.about]
GUARDED = [route for route, row in ROWS.items() if not row.open]


@pytest.mark.parametrize(("mode", "route"), list(product(MODES, ABOUT_SOMETHING)))
async def test_a_resource_of_another_owner_looks_missing(apps: Apps, mode: str, route: str) -> None:
    _, sees = MODES[mode]
    place = list(MODES).index(mode) + ABOUT_SOMETHING.index(route)

    async def looks_missing(number: int, name: str) -> None:
        for accept in accepted(number + place):
            async with apps.caller(mode, apps.sent_by(name, mode)) as client:
                existing, missing = await asyncio.gather(
                    *(call(client, route, ids, accept) for ids in (apps.existing, MISSING))
                )
            assert comparable(existing) == comparable(missing), name
            assert existing.status_code == sees.get(name, REFUSED), name

    async with asyncio.TaskGroup() as all_at_once:  # wrong keys are refused after a pause
        for number, name in enumerate(CALLERS):
            all_at_once.create_task(looks_missing(number, name))


@pytest.mark.parametrize(("mode", "route"), list(product(ASKING, GUARDED)))
async def test_anonymous_callers_are_refused_everywhere(apps: Apps, mode: str, route: str) -> None:
    for headers in ({}, {"x-functions-key": "a-guess"}):
        async with apps.caller(mode, headers) as client:
            existing = await call(client, route, apps.existing)
            missing = await call(client, route, MISSING)
        assert existing.status_code == REFUSED
        assert comparable(existing) == comparable(missing)


@pytest.mark.parametrize("route", ABOUT_SOMETHING)
@pytest.mark.parametrize("mode", ["keys", "function"])
async def test_what_belongs_to_a_key_is_missing_for_another_key(
    apps: Apps, mode: str, route: str
) -> None:
    mine, theirs = ({**KEY_HEADER, "api-key": key} for key in apps.keys)
    if mode == "keys":
        mine, theirs = ({"Authorization": f"Bearer {key}"} for key in apps.keys)
    async with apps.caller(mode, mine) as owner, apps.caller(mode, theirs) as other:
        ids = await made_for(route, owner)
        for accept in ACCEPTED:
            answer = await call(other, route, ids, accept)
            assert comparable(answer) == comparable(await call(other, route, MISSING, accept))
            assert answer.status_code == MISSED
        assert (await call(owner, route, ids)).is_success
        named = {"owner": f"key:{apps.keys[0].split('_')[1]}"}
        assert (await other.get("threads", params=named)).status_code == 403


async def test_what_concerns_the_instance_is_shown_to_admins_only(apps: Apps) -> None:
    async with (
        apps.owner() as user,
        apps.caller(headers=known(TENANT, ADMIN, "Agents.Admin")) as admin,
    ):
        theirs, all_ = [(await each.get("metrics")).json() for each in (user, admin)]
        assert theirs["successful_requests"] >= 1  # their own
        assert "models" not in theirs
        assert all_["models"]
        theirs, all_ = [(await each.get("health/ready")) for each in (user, admin)]
    checks, known_to_admins = theirs.json()["checks"], all_.json()["checks"]
    assert checks.keys() == known_to_admins.keys()
    assert all(check.keys() == {"status"} for check in checks.values())
    own = apps.deployment
    names = (own.intake, own.lanes, own.deliveries, own.table, own.audit, own.metrics)
    assert [name for name in names if name in theirs.text] == []
    assert own.lanes in all_.text


@pytest.mark.parametrize("route", ABOUT_SOMETHING)
async def test_the_owner_sees_what_exists_and_404_for_what_does_not(apps: Apps, route: str) -> None:
    async with apps.owner() as owner:
        answer = await call(owner, route, await made_for(route, owner))
        assert answer.is_success
        assert (await call(owner, route, MISSING)).status_code == MISSED


@pytest.mark.parametrize("route", [route for route in GUARDED if route not in ABOUT_SOMETHING])
async def test_routes_without_an_id_show_nothing_of_other_owners(apps: Apps, route: str) -> None:
    async with apps.caller(headers=known(OTHER_TENANT, str(uuid.uuid4()))) as stranger:
        answer = await call(stranger, route, {})
    assert answer.status_code == 403 if ROWS[route].admins_only else answer.is_success
    for theirs in (apps.thread_id, apps.job_id, OWNER, "swordfish"):
        assert theirs not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "threads?cursor={thread_id}",
        "jobs?cursor={job_id}",
        "audit?thread_id={thread_id}",
        "audit?job_id={job_id}",
    ],
)
async def test_an_id_of_another_owner_in_a_query_looks_missing(apps: Apps, path: str) -> None:
    for tenant in (TENANT, OTHER_TENANT):
        async with apps.caller(headers=known(tenant, str(uuid.uuid4()))) as stranger:
            existing = await stranger.get(filled(path, apps.existing))
            missing = await stranger.get(filled(path, MISSING))
        assert existing.is_success
        assert existing.json() == {"data": [], "next_cursor": None}
        assert comparable(existing) == comparable(missing)


TOOLS_ABOUT_SOMETHING: list[tuple[str, str, dict[str, Any]]] = [
    ("get_messages", THREAD, {}),
    ("ask_agent", THREAD, SAY),
    ("submit_job", THREAD, SAY),
    ("get_job", JOB, {}),
    ("cancel_job", JOB, {}),
]
OTHER_TOOLS = ["start_thread", "list_threads", "list_jobs", "usage"]


async def tool_result(client: httpx.AsyncClient, tool: str, **arguments: Any) -> dict[str, Any]:
    """The result of a call of the MCP face."""
    params = {"name": tool, "arguments": arguments}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return (await client.post("mcp", json=body)).json()["result"]


async def test_every_mcp_tool_is_in_the_matrix(apps: Apps) -> None:
    async with apps.owner() as owner:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        listed = (await owner.post("mcp", json=body)).json()["result"]["tools"]
    tried = {tool for tool, *_ in TOOLS_ABOUT_SOMETHING} | set(OTHER_TOOLS)
    assert {tool["name"] for tool in listed} == tried


@pytest.mark.parametrize(("tool", "about", "arguments"), TOOLS_ABOUT_SOMETHING, ids=str)
async def test_an_id_of_another_owner_in_an_mcp_call_looks_missing(
    apps: Apps, tool: str, about: str, arguments: dict[str, Any]
) -> None:
    async def called(client: httpx.AsyncClient, id_: str) -> str:
        result = await tool_result(client, tool, **arguments, **{about: id_})
        assert result["isError"] is True
        return result["content"][0]["text"].replace(id_, "")

    for tenant, subject in ((TENANT, OTHER), (OTHER_TENANT, OWNER)):
        async with apps.caller(headers=known(tenant, subject)) as stranger:
            existing = await called(stranger, apps.existing[about])
            assert json.loads(existing)["code"] == "not_found"
            assert existing == await called(stranger, MISSING[about])


@pytest.mark.parametrize("tool", OTHER_TOOLS)
async def test_an_mcp_call_without_an_id_shows_nothing_of_other_owners(
    apps: Apps, tool: str
) -> None:
    async with apps.caller(headers=known(OTHER_TENANT, str(uuid.uuid4()))) as stranger:
        result = await tool_result(stranger, tool)
        assert result["isError"] is False
        for theirs in (apps.thread_id, apps.job_id, OWNER, "swordfish"):
            assert theirs not in json.dumps(result)
        if tool == "usage":
            assert result["structuredContent"]["total"]["requests"] == 0
            refused = await tool_result(stranger, tool, all_owners=True)
            assert json.loads(refused["content"][0]["text"])["code"] == "forbidden"


@pytest.mark.parametrize(("tool", "about"), [("list_threads", THREAD), ("list_jobs", JOB)])
async def test_a_cursor_of_another_owner_in_an_mcp_call_looks_missing(
    apps: Apps, tool: str, about: str
) -> None:
    async with apps.caller(headers=known(TENANT, str(uuid.uuid4()))) as stranger:
        for ids in (apps.existing, MISSING):
            result = await tool_result(stranger, tool, cursor=ids[about])
            assert result["structuredContent"] == {"data": [], "next_cursor": None}


async def test_a_refused_mcp_client_learns_where_to_sign_in(apps: Apps) -> None:
    """RFC 9728, as the authorization of MCP requires."""
    async with apps.caller() as client:
        for address in ("mcp", "threads"):
            refused = await client.post(address, json={})
            assert refused.status_code == REFUSED
            assert refused.headers["WWW-Authenticate"] == (
                f'Bearer resource_metadata="{apps.urls["entra"]}/.well-known/'
                f'oauth-protected-resource", scope="{SCOPE}"'
            )
    async with apps.caller("keys") as client:
        refused = await client.post("mcp", json={})
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (REFUSED, "Bearer")


async def test_owners_have_conversation_ids_of_their_own(apps: Apps) -> None:
    async def ask(headers: dict[str, str], text: str) -> dict[str, Any]:
        async with apps.caller(headers=headers) as client:
            body = {"user_input": text, "conversation_id": "the same"}
            return (await client.post("orchestrate", json=body)).json()

    told = await ask(known(TENANT, OWNER), "My name is Ada.")
    heard = await ask(known(TENANT, OTHER), "What is my name?")
    own = await ask(known(TENANT, OWNER), "What is my name?")
    assert heard["reply"] == "I do not know your name."
    assert own["reply"] == "Your name is Ada."
    assert told[THREAD] == own[THREAD] != heard[THREAD]
    async with apps.caller(headers=known(TENANT, OTHER)) as stranger:
        assert (await stranger.get(f"threads/{told[THREAD]}")).status_code == MISSED


async def test_an_admin_names_the_owner(apps: Apps) -> None:
    admin = known(OTHER_TENANT, ADMIN, "Agents.Admin")
    path = f"threads/{apps.thread_id}"
    async with apps.caller(headers=admin) as client:
        assert (await client.get(path)).status_code == MISSED
        found = await client.get(path, params={"owner": OWNER_KEY.upper()})
        assert found.json()[THREAD] == apps.thread_id
        for unusable in ("", "*", "somebody", f"{OWNER_KEY}\n"):
            answer = await client.get(path, params={"owner": unusable})
            assert answer.status_code == 422
    async with apps.owner() as owner:
        assert (await owner.get(path, params={"owner": OWNER_KEY})).status_code == 403


async def test_a_role_is_needed_and_a_scope_does_not_make_an_admin(apps: Apps) -> None:
    claims = claims_of(TENANT, OTHER)
    for given, status in (
        ([], 403),
        ([("scp", "User.Read")], 403),
        ([("roles", "agents.use")], 403),
        ([("scp", "User.Read Agents.Use")], 200),
        ([("http://schemas.microsoft.com/identity/claims/scope", "Agents.Use")], 200),
        ([("http://schemas.microsoft.com/ws/2008/06/identity/claims/role", "Agents.Admin")], 200),
    ):
        headers = {**BEARER, PRINCIPAL_HEADER: encoded(document([*claims, *given]))}
        async with apps.caller(headers=headers) as client:
            assert (await client.get("threads")).status_code == status, given
    scope = [*claims, ("scp", "Agents.Use Agents.Admin")]
    headers = {**BEARER, PRINCIPAL_HEADER: encoded(document(scope))}
    async with apps.caller(headers=headers) as client:
        assert (await client.get("threads", params={"owner": OWNER_KEY})).status_code == 403
        assert (await client.get("audit", params={"all_owners": "true"})).status_code == 403


async def test_open_routes_answer_without_details(apps: Apps) -> None:
    async with apps.caller() as client:
        assert (await client.get("health")).json() == {"status": "ok"}
        assert (await client.get("no/such/route")).status_code == 404
        assert (await client.put("threads")).status_code == 405


async def rejections(apps: Apps) -> list[dict[str, Any]]:
    return await apps.deployment.rows(REJECTED_PARTITION)


@asynccontextmanager
async def existing_queue(apps: Apps, name: str) -> AsyncGenerator[QueueClient]:
    """A queue as a producer finds it."""
    async with apps.deployment.queue(name) as queue:
        with suppress(ResourceExistsError):
            await queue.create_queue()
        yield queue


PRODUCERS = [
    ("entra", f"{TENANT}:{OTHER}"),
    ("entra", f"{OTHER_TENANT}:{OWNER}"),
    ("entra", f"{FOREIGN_TENANT}:{OWNER}"),
    ("entra", "key"),
    ("both", f"{TENANT}:{OTHER}"),
    ("both", f"{OTHER_TENANT}:{OWNER}"),
    ("both", "key"),
    ("both", "anonymous"),
    ("function", "key"),
    ("function", "somebody"),
    ("anonymous", "anonymous"),
]
"""Modes, and the owners whom producers name in them."""


@pytest.mark.parametrize(("mode", "owner"), PRODUCERS)
async def test_the_intake_queue_gives_no_owner_the_thread_of_another(
    apps: Apps, mode: str, owner: str
) -> None:
    before = {note["RowKey"] for note in await rejections(apps)}
    async with existing_queue(apps, apps.deployments[mode].intake) as intake:
        for ids in (apps.existing, MISSING):
            body = {**SAY, "owner": owner, "thread_id": ids[THREAD]}
            await intake.send_message(json.dumps(body))

    async def both() -> list[dict[str, Any]]:
        notes = [note for note in await rejections(apps) if note["RowKey"] not in before]
        return notes if len(notes) == 2 else []

    notes = await eventually(both)
    assert len({note["reason"] for note in notes}) == 1


async def test_the_intake_queue_gives_no_owner_the_job_of_another(apps: Apps) -> None:
    stranger = str(uuid.uuid4())
    async with apps.owner() as owner:
        before = (await owner.get(f"jobs/{apps.job_id}")).json()
        async with existing_queue(apps, apps.deployment.intake) as intake:
            body = {**SAY, "owner": f"{TENANT}:{stranger}", "job_id": apps.job_id}
            await intake.send_message(json.dumps(body))
        async with apps.caller(headers=known(TENANT, stranger)) as client:

            async def accepted() -> bool:
                return (await client.get(f"jobs/{apps.job_id}")).is_success

            await eventually(accepted)
            own = await ended(client, apps.job_id)
        assert own["created_at"] != before["created_at"]
        assert (await owner.get(f"jobs/{apps.job_id}")).json() == before


async def test_the_intake_queue_takes_only_owners_that_entra_lets_in(apps: Apps) -> None:
    wrong = ["key", "anonymous", "somebody", f"{FOREIGN_TENANT}:{OWNER}", f"{OWNER_KEY}:x", "$days"]
    before = len(await rejections(apps))
    async with existing_queue(apps, apps.deployment.intake) as intake:
        for owner in wrong:
            await intake.send_message(json.dumps({**SAY, "owner": owner}))
        good = f"job_{ULID()}"
        body = {**SAY, "owner": OWNER_KEY.upper(), "job_id": good}
        await intake.send_message(json.dumps(body))

    async def all_of_them() -> list[dict[str, Any]]:
        notes = (await rejections(apps))[before:]
        return notes if len(notes) == len(wrong) else []

    notes = await eventually(all_of_them)
    assert {note["reason"].partition(" ")[0] for note in notes} == {"owner:"}
    async with apps.owner() as owner:

        async def accepted() -> bool:
            return (await owner.get(f"jobs/{good}")).is_success

        await eventually(accepted)
        await ended(owner, good)


@pytest.mark.parametrize("suffix", ["", POISON_SUFFIX])
async def test_a_wake_up_for_another_owners_lane_does_nothing(apps: Apps, suffix: str) -> None:
    stranger, queues = f"{TENANT}:{OTHER}", apps.deployments["both"]  # where no job runs
    async with existing_queue(apps, queues.lanes), existing_queue(apps, queues.lanes + suffix) as q:
        await q.send_message(json.dumps({"owner": stranger, "lane": apps.thread_id}))

    async def is_done() -> bool:
        return not any([await queues.depth(queues.lanes + each) for each in (suffix, "")])

    await eventually(is_done)
    prefix = f"turn:{apps.thread_id}"
    assert await apps.deployment.rows(stranger, kind=prefix) == []


@pytest.mark.parametrize("suffix", ["", POISON_SUFFIX])
async def test_a_notice_about_another_owners_job_delivers_nothing(apps: Apps, suffix: str) -> None:
    stranger, queues = f"{TENANT}:{OTHER}", apps.deployment
    named = queues.deliveries
    async with existing_queue(apps, named), existing_queue(apps, named + suffix) as deliveries:
        await deliveries.send_message(json.dumps({"owner": stranger, "job_id": apps.job_id}))

    async def is_done() -> bool:
        return not any([await queues.depth(named + each) for each in (suffix, "")])

    await eventually(is_done)
    assert await apps.deployment.rows(stranger, kind="out") == []


async def test_after_all_of_this_the_owners_thread_is_as_it_was(apps: Apps) -> None:
    async with apps.owner() as owner:
        thread = (await owner.get(f"threads/{apps.thread_id}")).json()
    assert (thread["message_count"], thread["metadata"]) == (1, {})
