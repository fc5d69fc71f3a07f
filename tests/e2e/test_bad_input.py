"""Requests that cannot be right: a problem that says what and why, and nothing stored."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from local.services import Azurite, FoundryEmulator, FunctionsHost, foundry_emulator
from tests.support import forking
from tests.support.leaks import leaks
from tests.support.served import Deployment, EmulatorControl

UNKNOWN_THREAD = "thread_01HZZZZZZZZZZZZZZZZZZZZZZZ"
MEBI = 1024 * 1024
MANY = {f"key{number}": "v" for number in range(17)}


@dataclass(frozen=True)
class Bad:
    """A bad request and what it is answered with."""

    method: str
    path: str
    status: int
    code: str
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    fields: tuple[str, ...] = ()
    """Fields that `errors` must name."""


def invalid(method: str, path: str, body: Any, *fields: str) -> Bad:
    """A body with wrong fields."""
    return Bad(method, path, 422, "invalid_request", json=body, fields=fields)


def unreadable(path: str, content: bytes) -> Bad:
    """A body that is not JSON."""
    return Bad("POST", path, 400, "invalid_json", content=content, headers=JSON)


def missing(method: str, path: str, body: Any = None) -> Bad:
    """An address with nothing behind it."""
    return Bad(method, path, 404, "not_found", json=body)


def unsupported(headers: Mapping[str, str]) -> Bad:
    """A body that does not say it is JSON."""
    return Bad("POST", "messages", 415, "unsupported_media_type", content=HELLO, headers=headers)


JSON = {"content-type": "application/json"}
HELLO = b'{"message": "hi"}'

CASES = {
    "truncated JSON": unreadable("messages", b'{"message": "hi"'),
    "no JSON at all": unreadable("threads", b"metadata=1"),
    "not UTF-8": unreadable("jobs", b'{"message": "\xff"}'),
    "JSON nested too deep": unreadable("messages", b"[" * 100_000),
    "a list for a body": invalid("POST", "messages", [], "body"),
    "a text for a body": invalid("POST", "jobs", "hi", "body"),
    "no message": invalid("POST", "messages", {}, "message"),
    "an empty message": invalid("POST", "messages", {"message": ""}, "message"),
    "a number for a message": invalid("POST", "messages", {"message": 5}, "message"),
    "null for a message": invalid("POST", "messages", {"message": None}, "message"),
    "an object for a message": invalid(
        "POST", f"threads/{UNKNOWN_THREAD}/messages", {"message": {}}, "message"
    ),
    "a text for a number": invalid(
        "POST", "messages", {"message": "hi", "temperature": "hot"}, "temperature"
    ),
    "out of range, twice": invalid(
        "POST", "messages", {"message": "hi", "temperature": 3, "top_p": -1}, "temperature", "top_p"
    ),
    "an unknown field": invalid("POST", "messages", {"message": "hi", "mesage": 1}, "mesage"),
    "an unknown field of a thread": invalid("POST", "threads", {"metdata": {}}, "metdata"),
    "an unknown field of a job": invalid("POST", "jobs", {"message": "hi", "thread": 1}, "thread"),
    "a job with nothing to say": invalid("POST", "jobs", {}, "body"),
    "a job with both forms": invalid("POST", "jobs", {"message": "a", "messages": ["b"]}, "body"),
    "a job with no messages": invalid("POST", "jobs", {"messages": []}, "messages"),
    "a job with too many": invalid("POST", "jobs", {"messages": ["m"] * 51}, "messages"),
    "a job with a wrong one": invalid("POST", "jobs", {"messages": ["a", 2]}, "messages.1"),
    "a job on two threads": invalid(
        "POST", "jobs", {"message": "a", "thread_id": UNKNOWN_THREAD, "new_thread": True}, "body"
    ),
    "17 pairs of metadata": invalid("POST", "threads", {"metadata": MANY}, "metadata"),
    "17 pairs on a message": invalid(
        "POST", "messages", {"message": "hi", "metadata": MANY}, "metadata"
    ),
    "a key of 65": invalid("POST", "threads", {"metadata": {"k" * 65: "v"}}, "metadata"),
    "an empty key": invalid("POST", "jobs", {"message": "a", "metadata": {"": "v"}}, "metadata"),
    "a text of 513": invalid("POST", "threads", {"metadata": {"k": "v" * 513}}, "metadata.k"),
    "metadata of the wrong type": invalid("POST", "threads", {"metadata": {"k": 1}}, "metadata.k"),
    "a thread that expires at once": invalid("POST", "threads", {"expires_in": 0}, "expires_in"),
    "a patch of nothing": invalid("PATCH", f"threads/{UNKNOWN_THREAD}", {}, "metadata"),
    "a limit that is none": invalid("GET", "threads?limit=many", None, "limit"),
    "a limit of 0": invalid("GET", "threads?limit=0", None, "limit"),
    "a limit of 101": invalid("GET", f"threads/{UNKNOWN_THREAD}/messages?limit=101", None, "limit"),
    "a filter by a text too long": invalid(
        "GET", f"threads?metadata.k={'v' * 513}", None, "metadata.k"
    ),
    "a filter by a key too long": invalid(
        "GET", f"threads?metadata.{'k' * 65}=v", None, f"metadata.{'k' * 65}"
    ),
    "17 filters": invalid(
        "GET", "threads?" + "&".join(f"metadata.{key}=v" for key in MANY), None, "metadata"
    ),
    "a cursor that is none": invalid("GET", "threads?cursor=abc", None, "cursor"),
    "a message over 1 MiB": Bad(
        "POST",
        "messages",
        413,
        "too_large",
        json={"message": "x" * (MEBI + 1)},
        fields=("message",),
    ),
    "a job's message over 1 MiB": Bad(
        "POST",
        "jobs",
        413,
        "too_large",
        json={"messages": ["a", "x" * (MEBI + 1)]},
        fields=("messages.1",),
    ),
    "a job that no row can hold": Bad(
        "POST", "jobs", 413, "too_large", json={"message": "x" * MEBI, "new_thread": True}
    ),
    "a body over 4 MiB": Bad(
        "POST", "messages", 413, "too_large", content=b" " * (4 * MEBI + 1), headers=JSON
    ),
    "a form": unsupported({"content-type": "application/x-www-form-urlencoded"}),
    "a text": unsupported({"content-type": "text/plain; charset=utf-8"}),
    "no content type": unsupported({}),
    "an unknown thread to read": missing("GET", f"threads/{UNKNOWN_THREAD}"),
    "an unknown thread to change": missing("PATCH", f"threads/{UNKNOWN_THREAD}", {"metadata": {}}),
    "an unknown thread to delete": missing("DELETE", f"threads/{UNKNOWN_THREAD}"),
    "an unknown thread's history": missing("GET", f"threads/{UNKNOWN_THREAD}/messages"),
    "an unknown thread to talk on": missing(
        "POST", f"threads/{UNKNOWN_THREAD}/messages", {"message": "hi"}
    ),
    "an unknown thread for a job": missing(
        "POST", "jobs", {"message": "hi", "thread_id": UNKNOWN_THREAD}
    ),
    "a malformed thread id": missing("GET", "threads/thread_1"),
    "another kind's id": missing("GET", f"threads/{UNKNOWN_THREAD.replace('thread', 'job')}"),
    "a thread id with a quote": missing("GET", "threads/thread_'%20or%20'1'%20eq%20'1"),
    "a thread id with a slash": missing("DELETE", "threads/..%2F..%2Fjobs"),
    "a very long thread id": missing("GET", f"threads/{'x' * 5000}"),
    "an unknown route": missing("POST", "message", {"message": "hi"}),
    "the root": missing("GET", ""),
    "a wrong method": Bad("PUT", "threads", 405, "method_not_allowed", json={}),
    "a method for another route": Bad("DELETE", "messages", 405, "method_not_allowed"),
    "a GET where only POST is": Bad("GET", "messages", 405, "method_not_allowed"),
}


@pytest.fixture(scope="module")
def foundry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FoundryEmulator]:
    """A Foundry that only the app of this file asks: nothing but a test adds to its log."""
    backend = {"FOUNDRY_LOCAL_BACKEND": "scripted"}
    logs = tmp_path_factory.mktemp("foundry")
    with foundry_emulator(logs, environment=backend, spawn=forking.spawn) as service:
        yield service


@pytest.fixture(scope="module")
async def deployment(azurite: Azurite, foundry: FoundryEmulator) -> AsyncIterator[Deployment]:
    """Tables of its own, to which no other test's job adds."""
    deployment = Deployment(azurite.connection_string, foundry)
    yield deployment
    assert leaks(await deployment.everything()) == []


@pytest.fixture(scope="module")
def app(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FunctionsHost]:
    """The app on them."""
    with deployment.serve(tmp_path_factory.mktemp("app")) as host:
        yield host


@pytest.mark.parametrize("bad", CASES.values(), ids=CASES.keys())
async def test_bad_input_is_a_problem_and_leaves_nothing(
    caller: httpx.AsyncClient, deployment: Deployment, emulator: EmulatorControl, bad: Bad
) -> None:
    rows, asked = await deployment.stored(), len(await emulator.requests())
    content = json.dumps(bad.json).encode() if bad.json is not None else bad.content
    headers = {**(JSON if bad.json is not None else {}), **bad.headers}
    answer = await caller.request(bad.method, bad.path, content=content, headers=headers)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (bad.status, bad.code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == bad.status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    named = [error["field"] for error in problem.get("errors", [])]
    for name in bad.fields:
        assert any(field == name or field.startswith(f"{name}.") for field in named), named
    assert all(error["reason"] for error in problem.get("errors", []))
    assert await deployment.stored() == rows
    assert len(await emulator.requests()) == asked


async def test_a_wrong_method_is_told_which_are_right(caller: httpx.AsyncClient) -> None:
    assert (await caller.put("threads", json={})).headers["allow"] == "GET, HEAD, POST"
    item = await caller.put(f"threads/{UNKNOWN_THREAD}")
    assert item.headers["allow"] == "DELETE, GET, HEAD, PATCH"


async def test_what_is_just_allowed_is_taken(caller: httpx.AsyncClient) -> None:
    metadata = {f"{number:064d}": "v" * 512 for number in range(16)}
    thread = await caller.post("threads", json={"metadata": metadata})
    assert (thread.status_code, thread.json()["metadata"]) == (201, metadata)
    longest = await caller.post("messages", json={"message": "x" * MEBI})
    assert longest.status_code == 200
    bare = await caller.post("threads")
    assert bare.status_code == 201
    suffixed = {"content-type": "application/vnd.acme+json; charset=utf-8"}
    typed = await caller.post("messages", content=HELLO, headers=suffixed)
    assert typed.status_code == 200
