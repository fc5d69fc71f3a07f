"""What callers send, at its worst: bounded, escaped, and never a way to what is somebody else's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.state.keys import Kind, is_id, new_id, partition_key
from shared.state.owners import canonical_owner
from shared.text import parse_json
from tests.support.app_on_fakes import App
from tests.support.callers import OWNER_KEY
from tests.support.calling import caller


@pytest.fixture
async def app() -> AsyncIterator[App]:
    """The app on fakes; threads are chains of responses."""
    app = App()
    yield app
    await app.aclose()


@pytest.fixture
async def api(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(app.services()) as client:
        yield client


async def chain(api: httpx.AsyncClient, turns: int = 2) -> tuple[str, list[str]]:
    """A thread that is a chain of responses, and their ids."""
    thread_id = (await api.post("threads", json={})).json()["thread_id"]
    responses: list[str] = []
    for _ in range(turns):
        answer = await api.post(f"threads/{thread_id}/messages", json={"message": "Hi"})
        responses.append(answer.json()["metadata"]["response_id"])
    return thread_id, responses


async def test_history_is_read_on_from_ones_own_responses_only(api: httpx.AsyncClient) -> None:
    mine, _ = await chain(api)
    page = (await api.get(f"threads/{mine}/messages", params={"limit": 2})).json()
    on = await api.get(f"threads/{mine}/messages", params={"cursor": page["next_cursor"]})
    assert len(on.json()["data"]) == 2
    _, others = await chain(api)
    for cursor in (others[0], "resp_of_another_tenant", "../conversations/conv_1", "a b", "", "\n"):
        answer = await api.get(f"threads/{mine}/messages", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), cursor


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x85", "\r", "\n"])
async def test_names_hold_no_control_characters(api: httpx.AsyncClient, character: str) -> None:
    name = f"a{character}b"
    for body in (
        {"message": "Hi", "domain": name},
        {"message": "Hi", "model": name},
        {"message": "Hi", "tools": [name]},
        {"message": "Hi", "metadata": {name: "v"}},
    ):
        answer = await api.post("messages", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    text = {"message": "Hi", "metadata": {"k": name}}
    allowed = character in "\r\n"
    assert (await api.post("messages", json=text)).status_code == (200 if allowed else 422)


async def test_a_message_may_hold_any_character(api: httpx.AsyncClient) -> None:
    message = "".join(map(chr, range(32))) + "\x7f\u2028\U0001f600"
    answer = await api.post("messages", json={"message": message})
    assert answer.json()["content"] == f"You said: {message}"


async def test_a_body_of_100_000_wrong_fields_names_20(api: httpx.AsyncClient) -> None:
    body = {f"field{number}": 1 for number in range(100_000)} | {"x" * 10_000: 1}
    answer = await api.post("messages", json=body)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20
    assert len(answer.content) < 10_000


@pytest.mark.parametrize(
    "body",
    [
        {"message": "Hi", "tools": ["t"] * 129},
        {"message": "Hi", "tools": ["t" * 129]},
        {"message": "Hi", "metadata": {str(n): "v" for n in range(17)}},
        {"message": "Hi", "metadata": {"k": {"deep": {}}}},
        {"message": "Hi", "temperature": float("nan")},
        {"message": "Hi", "response_format": {"minimum": float("nan")}},
        {"message": "Hi", "response_format": {"minimum": float("-inf")}},
    ],
)
async def test_counts_depths_and_numbers_are_bounded(api: httpx.AsyncClient, body: object) -> None:
    headers = {"content-type": "application/json"}
    answer = await api.post("messages", content=json.dumps(body), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_depth_without_end_is_no_crash(api: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    for content in (b"[" * 1_000_000, b'{"metadata":' * 300_000):
        answer = await api.post("messages", content=content, headers=headers)
        assert answer.status_code == 400


async def test_answers_are_kept_by_nobody_and_taken_for_nothing_else(
    api: httpx.AsyncClient,
) -> None:
    for path in ("health", "threads", "nowhere"):
        headers = (await api.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


async def test_naming_an_owner_takes_a_role(api: httpx.AsyncClient) -> None:
    for owner in (OWNER_KEY, "key", "nonsense", ""):
        answer = await api.get("threads", params={"owner": owner})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@given(st.text(max_size=100))
def test_an_owners_partition_is_its_own_and_a_valid_key(owner: str) -> None:
    key = partition_key(owner)
    assert not set(key) & set("/\\#?!$%' \t\n\r")
    assert key.isascii()
    named = canonical_owner(owner)
    assert named is None or partition_key(named) == named


@given(st.text(max_size=10))
def test_nothing_may_hang_on_an_id(more: str) -> None:
    thread_id = new_id(Kind.THREAD)
    assert is_id(Kind.THREAD, thread_id + more) == (more == "")


@given(st.recursive(st.text(st.characters(), max_size=10), lambda x: st.lists(x, max_size=3)))
def test_what_foundry_answers_can_be_kept_and_told(document: object) -> None:
    read = parse_json(json.dumps(document).encode())
    json.dumps(read, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "content",
    ["NaN", '{"a": -Infinity}', "[" * 100_000, '{"a":' * 201, "9" * 5_000, b'"\xed\xa0\xbd"', ""],
)
def test_what_is_no_json_or_has_no_end_is_refused(content: str | bytes) -> None:
    with pytest.raises(ValueError, match="at line 1"):
        parse_json(content)


@given(st.lists(st.sampled_from(["\\", "ud83d", "uDE00", "n", "x"])).map("".join))
def test_halves_are_found_as_the_standard_library_finds_them(text: str) -> None:
    content = f'"{text}"'
    try:
        expected = json.loads(content).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    except ValueError:
        return
    assert parse_json(content) == expected.replace("\ufffd", "?")


def test_half_a_character_becomes_a_question_mark() -> None:
    assert parse_json(b'["\\ud83d", "\\ud83d\\ude00", "\\\\ud83d"]') == [
        "?",
        "\U0001f600",
        "\\ud83d",
    ]
