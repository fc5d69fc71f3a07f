"""Operations on agents and their immutable versions."""

import time

from starlette.responses import JSONResponse, Response

from .catalog import DEFAULT_DEPLOYMENT, find_deployment
from .errors import ApiError, JsonObject, invalid, not_found
from .operation import Call
from .paging import page_answer, stored_page
from .requests import MAX_TOOLS, AgentCreate, AgentVersionCreate, check_tool, parse
from .store import Row, Store

DEFAULT_AGENT = "assistant"


def seed(store: Store) -> None:
    """Create the agent `assistant` on a new state; once deleted, it stays deleted."""
    if store.is_fresh():
        definition = {
            "kind": "prompt",
            "model": DEFAULT_DEPLOYMENT,
            "instructions": "You are a helpful assistant. Answer briefly.",
        }
        _add_version(
            store, DEFAULT_AGENT, AgentVersionCreate.model_validate({"definition": definition})
        )


def resolve(store: Store, name: str, version: str | None) -> JsonObject:
    """Return the version of an `agent_reference`; raises 404, or 403 if the agent is disabled."""
    agent = store.find("agents", id=name)
    if agent is None:
        raise not_found("Agent", name, "agent_reference.name")
    if agent["state"] != "enabled":
        raise ApiError(403, "agent_disabled", f"Agent '{name}' is disabled.", "agent_reference")
    if version is None:
        return _latest(store, name)
    found = store.find("agent_versions", id=f"{name}:{version}")
    if found is None:
        raise not_found("Agent version", f"{name}:{version}", "agent_reference.version")
    return found["body"]


async def create(call: Call) -> Response:
    """POST /agents."""
    wanted = parse(AgentCreate, call.body)
    store = call.service.store
    if store.find("agents", id=wanted.name) is not None:
        raise ApiError(409, "conflict", f"Agent '{wanted.name}' already exists.", "name")
    _add_version(store, wanted.name, wanted)
    return JSONResponse(_details(store, _find(call, wanted.name)))


async def update(call: Call) -> Response:
    """POST /agents/{name}, which creates a version only if something changed."""
    agent = _find(call)
    wanted = parse(AgentVersionCreate, call.body)
    store = call.service.store
    latest = _latest(store, agent["id"])
    if any(latest[field] != value for field, value in _version_fields(wanted).items()):
        _add_version(store, agent["id"], wanted)
    return JSONResponse(_details(store, agent))


async def get(call: Call) -> Response:
    """GET /agents/{name}."""
    return JSONResponse(_details(call.service.store, _find(call)))


async def list_all(call: Call) -> Response:
    """GET /agents."""
    page = stored_page(call, "agents", {"kind": call.query("kind")})
    return page_answer(page, lambda row: _details(call.service.store, row))


async def delete(call: Call) -> Response:
    """DELETE /agents/{name}."""
    name = _find(call)["id"]
    call.service.store.delete("agents", id=name)
    call.service.store.delete("agent_versions", agent_name=name)
    return JSONResponse({"object": "agent.deleted", "name": name, "deleted": True})


async def enable(call: Call) -> Response:
    """POST /agents/{name}:enable."""
    return _set_state(call, "enabled")


async def disable(call: Call) -> Response:
    """POST /agents/{name}:disable."""
    return _set_state(call, "disabled")


async def create_version(call: Call) -> Response:
    """POST /agents/{name}/versions; the first version creates the agent."""
    body = parse(AgentCreate, {**call.body, "name": call.path("name")})
    return JSONResponse(_add_version(call.service.store, body.name, body))


async def list_versions(call: Call) -> Response:
    """GET /agents/{name}/versions."""
    return page_answer(stored_page(call, "agent_versions", {"agent_name": _find(call)["id"]}))


async def get_version(call: Call) -> Response:
    """GET /agents/{name}/versions/{version}."""
    return JSONResponse(_find_version(call)["body"])


async def delete_version(call: Call) -> Response:
    """DELETE /agents/{name}/versions/{version}; deleting the last one deletes the agent."""
    version, store = _find_version(call)["body"], call.service.store
    name = version["name"]
    store.delete("agent_versions", id=version["id"])
    if not store.all("agent_versions", agent_name=name):
        store.delete("agents", id=name)
    deleted = {"object": "agent.version.deleted", "name": name, "version": version["version"]}
    return JSONResponse({**deleted, "deleted": True})


def _set_state(call: Call, state: str) -> Response:
    call.service.store.update("agents", {"id": _find(call)["id"]}, state=state)
    return Response(status_code=204)


def _find(call: Call, name: str | None = None) -> Row:
    name = name or call.path("name")
    row = call.service.store.find("agents", id=name)
    if row is None:
        raise not_found("Agent", name)
    return row


def _find_version(call: Call) -> Row:
    name, version = call.path("name"), call.path("version")
    row = call.service.store.find("agent_versions", id=f"{name}:{version}")
    if row is None:
        raise not_found("Agent version", f"{name}:{version}")
    return row


def _latest(store: Store, name: str) -> JsonObject:
    return store.all("agent_versions", agent_name=name)[-1]["body"]


def _details(store: Store, agent: Row) -> JsonObject:
    return {
        "object": "agent",
        "id": agent["id"],
        "name": agent["id"],
        "state": agent["state"],
        "configuration_state": agent["state"],
        "versions": {"latest": _latest(store, agent["id"])},
    }


def _version_fields(wanted: AgentVersionCreate) -> JsonObject:
    return {
        "definition": wanted.definition.model_dump(),
        "description": wanted.description,
        "metadata": wanted.metadata or {},
    }


def _add_version(store: Store, name: str, wanted: AgentVersionCreate) -> JsonObject:
    fields = _version_fields(wanted)
    _check_definition(fields["definition"])
    agent = store.find("agents", id=name)
    number = (agent["last_version"] if agent else 0) + 1
    if agent is None:
        kind = wanted.definition.kind
        store.insert("agents", id=name, kind=kind, state="enabled", last_version=number)
    else:
        store.update("agents", {"id": name}, last_version=number)
    body = {
        "object": "agent.version",
        "id": f"{name}:{number}",
        "name": name,
        "version": str(number),
        "created_at": int(time.time()),
        "status": "active",
        "draft": bool(wanted.draft),
        **fields,
    }
    store.insert("agent_versions", id=body["id"], agent_name=name, body=body)
    return body


def _check_definition(definition: JsonObject) -> None:
    if definition["kind"] != "prompt":
        text = f"Agents of kind '{definition['kind']}' are not emulated."
        raise invalid(text, "definition.kind", "unsupported_parameter")
    if not isinstance(definition.get("model"), str):
        name = "definition.model"
        raise invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    find_deployment(definition["model"])
    tools: list[JsonObject] = definition.get("tools") or []
    if len(tools) > MAX_TOOLS:
        text = f"An agent has at most {MAX_TOOLS} tools."
        raise invalid(text, "definition.tools", "tool_limit_exceeded")
    for index, tool in enumerate(tools):
        check_tool(tool, f"definition.tools[{index}]")
