"""History: pages of a conversation, and the way back along a chain of responses."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from shared.app import Services
from shared.config import IdentitySettings
from shared.foundry import NotFoundError, ProtocolError
from shared.foundry.models import ThreadRef, TurnRequest
from shared.foundry.service import FoundryService
from tests.support.app_on_fakes import App, at_project
from tests.support.scripted_foundry import ScriptedFoundry, message_item

Project = tuple[App, Services]


async def chained(foundry: FoundryService, *messages: str) -> ThreadRef:
    thread = ThreadRef()
    for message in messages:
        result = await foundry.respond(TurnRequest(message), thread)
        thread = ThreadRef(None, result.response_id)
    return thread


async def test_a_thread_at_a_project_is_a_conversation(project: Project) -> None:
    app, services = project
    thread = await services.core.foundry.create_thread({"k": "v"})
    assert thread.conversation_id in app.foundry.conversations
    assert app.foundry.calls[-1].body == {"metadata": {"k": "v"}}
    assert app.foundry.calls[-1].headers["authorization"] == "Bearer a-token"
    assert "api-version" not in app.foundry.calls[-1].query


async def test_a_thread_at_a_resource_costs_no_call(app: App, services: Services) -> None:
    assert await services.core.foundry.create_thread({}) == ThreadRef()
    assert app.foundry.calls == []


async def test_a_page_is_newest_first_with_roles_and_texts(project: Project) -> None:
    _, services = project
    thread = await services.core.foundry.create_thread({})
    for text in ("one", "two"):
        await services.core.foundry.respond(TurnRequest(text), thread)
    page = await services.core.foundry.messages(thread)
    assert [(message.role, message.content) for message in page.messages] == [
        ("assistant", "You said: two"),
        ("user", "two"),
        ("assistant", "You said: one"),
        ("user", "one"),
    ]
    assert page.next_cursor is None


async def test_a_page_says_where_the_next_begins(project: Project) -> None:
    app, services = project
    items = [
        message_item("Hello", id="msg_9", created_at=1_700_000_000),
        {"type": "function_call", "id": "fc_8"},
    ]
    app.foundry.then(httpx.Response(200, json={"data": items, "has_more": True}), "/items")
    page = await services.core.foundry.messages(ThreadRef("conv_1"), limit=2, cursor="msg_10")
    assert app.foundry.calls[-1].query == {"limit": "2", "order": "desc", "after": "msg_10"}
    assert [message.id for message in page.messages] == ["msg_9"]
    assert page.messages[0].created_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert page.next_cursor == "fc_8"


async def test_only_texts_of_messages_are_shown(project: Project) -> None:
    app, services = project
    parts = [
        {"type": "input_text", "text": "Look: "},
        {"type": "input_image", "image_url": "https://x.example/i.png"},
        {"type": "text", "text": "a cat"},
    ]
    items = [{"type": "message", "id": "m", "role": "user", "content": parts}, {"type": "odd"}]
    app.foundry.then(httpx.Response(200, json={"data": items}), "/items")
    page = await services.core.foundry.messages(ThreadRef("conv_1"))
    assert [message.content for message in page.messages] == ["Look: a cat"]


async def test_a_chain_is_walked_back_to_its_start(services: Services) -> None:
    thread = await chained(services.core.foundry, "one", "two", "three")
    page = await services.core.foundry.messages(thread, limit=20)
    assert [message.content for message in page.messages] == [
        "You said: three",
        "three",
        "You said: two",
        "two",
        "You said: one",
        "one",
    ]
    assert page.next_cursor is None


async def test_a_chains_pages_join_without_gap_or_overlap(services: Services) -> None:
    thread = await chained(services.core.foundry, "one", "two", "three")
    first = await services.core.foundry.messages(thread, limit=4)
    rest = await services.core.foundry.messages(thread, limit=4, cursor=first.next_cursor)
    assert [message.content for message in first.messages][-1] == "two"
    assert [message.content for message in rest.messages] == ["You said: one", "one"]
    assert rest.next_cursor is None


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
async def test_a_chains_page_is_never_longer_than_asked(services: Services, limit: int) -> None:
    thread = await chained(services.core.foundry, "one", "two", "three")
    page = await services.core.foundry.messages(thread, limit=limit)
    pages = [page]
    while page.next_cursor:
        page = await services.core.foundry.messages(thread, limit=limit, cursor=page.next_cursor)
        pages.append(page)
    assert {len(each.messages) for each in pages[:-1]} == {limit}
    assert [message.content for each in pages for message in each.messages] == [
        "You said: three",
        "three",
        "You said: two",
        "two",
        "You said: one",
        "one",
    ]


async def test_a_chain_that_has_not_begun_is_empty(app: App, services: Services) -> None:
    page = await services.core.foundry.messages(ThreadRef())
    assert (page.messages, page.next_cursor) == ((), None)
    assert app.foundry.calls == []


async def test_deleting_what_is_already_gone_is_done(app: App, services: Services) -> None:
    await services.core.foundry.delete_thread(ThreadRef(None, "resp_gone"))
    await services.core.foundry.delete_thread(ThreadRef())
    assert [call.method for call in app.foundry.calls] == ["GET"]


@pytest.mark.parametrize("failure", [httpx.ReadError("cut"), httpx.Response(503, json={})])
async def test_a_thread_is_made_changed_and_deleted_in_spite_of_a_passing_fault(
    identity: IdentitySettings, failure: httpx.Response | Exception
) -> None:
    foundry = ScriptedFoundry()
    service = FoundryService(at_project(), identity, http=foundry.transport)
    foundry.then(failure, "/conversations")
    thread = await service.create_thread({"a": "b"})
    foundry.then(failure, f"/{thread.conversation_id}")
    await service.update_thread(thread, {"a": "c"})
    foundry.then(failure, f"/{thread.conversation_id}")
    await service.delete_thread(thread)
    await service.aclose()
    assert foundry.conversations == {}
    written = [call.method for call in foundry.calls if call.method != "GET"]
    assert written == ["POST"] * 4 + ["DELETE"] * 2


async def test_metadata_is_kept_where_foundry_keeps_any(project: Project) -> None:
    app, services = project
    thread = await services.core.foundry.create_thread({})
    await services.core.foundry.update_thread(thread, {"a": "b"})
    assert app.foundry.calls[-1].body == {"metadata": {"a": "b"}}
    calls = len(app.foundry.calls)
    await services.core.foundry.update_thread(ThreadRef(None, "resp_1"), {"a": "b"})
    assert len(app.foundry.calls) == calls


async def test_an_endpoint_without_conversations_knows_none(services: Services) -> None:
    with pytest.raises(NotFoundError):
        await services.core.foundry.open_thread("conv_1")


async def test_a_conversation_without_an_id_is_a_protocol_error(project: Project) -> None:
    app, services = project
    app.foundry.then(httpx.Response(200, json={}), "/conversations")
    with pytest.raises(ProtocolError):
        await services.core.foundry.create_thread({})


async def test_a_cursor_cannot_lead_out_of_the_chain(app: App, services: Services) -> None:
    thread = await chained(services.core.foundry, "mine")
    others = await chained(services.core.foundry, "somebody else's")
    calls = len(app.foundry.calls)
    for cursor in (others.last_response_id, "x/../../models?y=", "resp_9:x", ":1"):
        page = await services.core.foundry.messages(thread, cursor=cursor)
        assert (page.messages, page.next_cursor) == ((), None)
    asked = {call.path.rpartition("/")[2] for call in app.foundry.calls[calls:]}
    assert asked == {thread.last_response_id}
