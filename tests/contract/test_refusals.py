"""What the emulator refuses, and in which form."""

from typing import Any

import httpx
import pytest

from .conftest import API_KEY, DEPLOYMENT, TOKEN, Emulator, FaultInjector, message, text_of, turn

REFERENCE = {"type": "agent_reference", "name": "assistant"}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"model": DEPLOYMENT}, "invalid_payload", "input"),
        ({"input": "hi"}, "invalid_payload", "model"),
        (turn("x", temperature=3), "invalid_payload", "temperature"),
        (turn("x", max_output_tokens="9"), "invalid_payload", "max_output_tokens"),
        (turn("x", colour="red"), "unknown_parameter", "colour"),
        (turn("x", metadata={"k": "v" * 513}), "invalid_payload", "metadata.k"),
        (turn("x", metadata={str(n): "" for n in range(17)}), "invalid_payload", "metadata"),
        (turn("x", background=True, store=False), "invalid_payload", "background"),
        (turn("x", stream_options={}), "invalid_payload", "stream_options"),
        (turn("x", tools=[{"type": "function"}]), "invalid_payload", "tools[0].name"),
        (turn("x", agent_reference={"name": "a"}), None, "agent_reference.type"),
        (turn("x", previous_response_id="mine"), "invalid_parameters", "previous_response_id"),
        (turn("x", conversation="mine"), "invalid_parameters", "conversation"),
        (
            turn("x", conversation="conv_1", previous_response_id="resp_1"),
            "mutually_exclusive_parameters",
            "previous_response_id",
        ),
        (
            {"agent_reference": REFERENCE, "input": [], "tools": []},
            "invalid_payload",
            "tools",
        ),
        (
            {"model": DEPLOYMENT, "input": [{"role": "user", "content": "hi"}]},
            "invalid_payload",
            "input[0].type",
        ),
        (
            {"model": DEPLOYMENT, "input": [{"type": "message", "role": "user", "content": [1]}]},
            "invalid_value",
            "input[0].content[0].type",
        ),
        ({**turn("x", tools=[]), "model": "no-tools", "input": [{"type": "message"}]}, None, None),
    ],
)
async def test_bad_requests_name_the_field(
    raw: httpx.AsyncClient, body: dict[str, Any], code: str | None, param: str | None
) -> None:
    refused = await raw.post("responses", json=body)
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert error["message"]
    assert error["additionalInfo"]["request_id"] == refused.headers["x-request-id"]
    if code is not None:
        assert error["code"] == code
    if param is not None:
        assert error["param"] == param


async def test_broken_json_is_refused(raw: httpx.AsyncClient) -> None:
    for text in (b"{", b"[]", b'"x"'):
        refused = await raw.post("responses", content=text)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "invalid_request_error"


async def test_replayed_answers_need_annotations(raw: httpx.AsyncClient) -> None:
    part = {"type": "output_text", "text": "hello"}
    item = {"type": "message", "role": "assistant", "content": [part]}
    refused = await raw.post("conversations", json={"items": [item]})
    assert refused.json()["error"]["param"] == "items[0].content[0].annotations"


async def test_at_most_twenty_items(raw: httpx.AsyncClient, conversation: str) -> None:
    many = {"items": [message("x")] * 21}
    for path in ("conversations", f"conversations/{conversation}/items"):
        assert (await raw.post(path, json=many)).json()["error"]["param"] == "items"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "after=item_x"])
async def test_bad_pages(raw: httpx.AsyncClient, conversation: str, query: str) -> None:
    refused = await raw.get(f"conversations/{conversation}/items?{query}")
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == query.split("=", maxsplit=1)[0]


async def test_one_writer_per_conversation(
    raw: httpx.AsyncClient, conversation: str, inject: FaultInjector
) -> None:
    await inject("slow", seconds=0.05)
    body = turn("/words 10", conversation=conversation)
    async with raw.stream("POST", "responses", json={**body, "stream": True}) as first:
        lines = first.aiter_lines()
        assert await anext(lines) == "event: response.created"
        refused = await raw.post("responses", json=body)
        assert refused.status_code == 409
        error = refused.json()["error"]
        assert (error["code"], error["param"]) == ("conversation_locked", "conversation")
        assert "event: response.completed" in [line async for line in lines]
    assert (await raw.post("responses", json=body)).status_code == 200


async def test_a_conversation_cannot_be_forked(raw: httpx.AsyncClient, conversation: str) -> None:
    first = (await raw.post("responses", json=turn("hi", conversation=conversation))).json()
    refused = await raw.post("responses", json=turn("hi", previous_response_id=first["id"]))
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "conversation_fork_not_supported"


async def test_what_a_deployment_cannot_do(raw: httpx.AsyncClient) -> None:
    tool: dict[str, Any] = {"type": "function", "name": "f", "parameters": {}}
    refused = await raw.post("responses", json={**turn("x", tools=[tool]), "model": "no-tools"})
    assert refused.json()["error"]["code"] == "unsupported_parameter"
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    parts = [{"type": "input_text", "text": "what is this?"}, picture]
    item = {"type": "message", "role": "user", "content": parts}
    body = {"model": DEPLOYMENT, "input": [item]}
    assert (await raw.post("responses", json=body)).json()["error"]["code"] == "invalid_payload"
    seen = (await raw.post("responses", json={**body, "model": "gpt-4o-mini"})).json()
    assert text_of(seen) == "You said: what is this? [image]"


async def test_users_do_not_see_each_other(raw: httpx.AsyncClient) -> None:
    ada, bob = {"x-ms-user-identity": "ada"}, {"x-ms-user-identity": "bob"}
    made = (await raw.post("conversations", json={}, headers=ada)).json()["id"]
    assert (await raw.get(f"conversations/{made}", headers=ada)).status_code == 200
    assert (await raw.get(f"conversations/{made}", headers=bob)).status_code == 404
    body = turn("hi", conversation=made)
    assert (await raw.post("responses", json=body, headers=bob)).status_code == 404
    listed = (await raw.get("conversations", headers=ada)).json()["data"]
    assert [conversation["id"] for conversation in listed] == [made]


async def test_management_needs_its_api_version(emulator: Emulator) -> None:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}) as client:
        refused = await client.get(f"{emulator.project}/agents")
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "api-version"
        other = await client.get(f"{emulator.origin}/api/projects/other/openai/v1/conversations")
        assert other.status_code == 404


async def test_identical_definitions_make_no_version(emulator: Emulator) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    parameters = {"api-version": "v1"}
    definition = {"kind": "prompt", "model": DEPLOYMENT, "instructions": "a"}
    async with httpx.AsyncClient(
        base_url=emulator.project, headers=headers, params=parameters
    ) as client:
        body = {"name": "dedupe", "definition": definition}
        made = await client.post("/agents", json=body)
        assert made.json()["versions"]["latest"]["version"] == "1"
        same = await client.post("/agents/dedupe", json={"definition": definition})
        assert same.json()["versions"]["latest"]["version"] == "1"
        changed = {"definition": {**definition, "instructions": "b"}}
        other = await client.post("/agents/dedupe", json=changed)
        assert other.json()["versions"]["latest"]["version"] == "2"
        bad_name = await client.post("/agents", json={**body, "name": "-bad-"})
        assert bad_name.json()["error"]["param"] == "name"
        missing = {**body, "name": "other", "definition": {**definition, "model": "nope"}}
        assert (await client.post("/agents", json=missing)).status_code == 404


async def test_too_many_custom_headers(raw: httpx.AsyncClient) -> None:
    ten = {f"x-custom-{n}": "1" for n in range(10)}
    assert (await raw.get("conversations", headers=ten)).status_code == 200
    refused = await raw.get("conversations", headers={**ten, "x-one-more": "1"})
    assert refused.status_code == 431


async def test_request_ids_and_rate_limits_are_reported(raw: httpx.AsyncClient) -> None:
    headers = {"x-ms-client-request-id": "abc"}
    answer = await raw.post("responses", json=turn("hi"), headers=headers)
    assert answer.headers["x-ms-client-request-id"] == "abc"
    assert answer.headers["apim-request-id"]
    assert int(answer.headers["x-ratelimit-remaining-requests"]) < 1_000


class TestCredentials:
    """Who is let in, and the documented forms of 401."""

    @pytest.mark.parametrize(
        "headers",
        [{}, {"api-key": API_KEY}, {"authorization": "Bearer nonsense"}, {"authorization": "x"}],
    )
    async def test_the_project_takes_tokens_only(
        self, emulator: Emulator, headers: dict[str, str]
    ) -> None:
        async with httpx.AsyncClient(headers=headers) as client:
            refused = await client.get(f"{emulator.openai}/conversations")
        assert refused.status_code == 401
        assert refused.json()["statusCode"] == 401
        assert "audience is incorrect" in refused.json()["message"]

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"api-key": API_KEY}, 200),
            ({"authorization": f"Bearer {API_KEY}"}, 200),
            ({"authorization": f"Bearer {TOKEN}"}, 200),
            ({"api-key": "wrong"}, 401),
            ({}, 401),
        ],
    )
    async def test_the_resource_takes_keys_too(
        self, emulator: Emulator, headers: dict[str, str], status: int
    ) -> None:
        async with httpx.AsyncClient(headers=headers) as client:
            answer = await client.get(f"{emulator.origin}/openai/v1/models")
        assert answer.status_code == status

    async def test_a_missing_role_is_a_401_too(self, emulator: Emulator) -> None:
        headers = {"authorization": "Bearer local-token-without-role"}
        async with httpx.AsyncClient(headers=headers) as client:
            refused = await client.post(f"{emulator.openai}/responses", json=turn("hi"))
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "PermissionDenied"
        assert "lacks the required data action" in refused.json()["error"]["message"]
