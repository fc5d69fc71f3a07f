"""The emulator as a Starlette application: its paths and their operations."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.model import LanguageModel, open_model

from . import agents, catalog, chat, control, conversations, responses
from .auth import Gate
from .errors import ApiError
from .operation import Call, Handler, Operation, Service, Surface
from .settings import EmulatorSettings
from .store import Store
from .turns import Turns

PROJECT = "/api/projects/{project}"
OPENAI = PROJECT + "/openai/v1"
RESOURCE = "/openai/v1"

Entry = tuple[str, str, str, Handler]
"""Name of the operation, method, path below the surface, handler."""


def create_app(
    settings: EmulatorSettings | None = None, model: LanguageModel | None = None
) -> Starlette:
    """Build the emulator.

    Its state, and the model unless one is given, are opened when the application starts and closed
    when it stops.
    """
    chosen = settings or EmulatorSettings()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        answering = model or await open_model(chosen.backend)
        store = Store(chosen.state_path)
        turns = Turns(store, answering)
        store.fail_interrupted()
        agents.seed(store)
        app.state.model = answering
        app.state.service = Service(chosen, store, Gate(chosen, store.signing_secret()), turns)
        yield
        await turns.aclose()
        store.close()
        if model is None:
            await answering.aclose()

    routes = [
        *control.ROUTES,
        *_routes(Surface.IDENTITY, "", [("msi.token", "GET", "/msi/token", _issue_token)]),
        *_routes(Surface.MANAGEMENT, PROJECT, _MANAGEMENT),
        *_routes(Surface.PROJECT, OPENAI, [*_RESPONSES, *_FOUNDRY_ONLY, *_CONVERSATIONS]),
        *_routes(Surface.RESOURCE, RESOURCE, [*_RESPONSES, *_RESOURCE_ONLY]),
    ]
    return Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _unknown_route}
    )


def _routes(surface: Surface, prefix: str, entries: list[Entry]) -> list[Route]:
    return [
        Route(prefix + path, Operation(name, handler, surface).handle, methods=[method])
        for name, method, path, handler in entries
    ]


async def _unknown_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    message = "Resource not found" if status == 404 else "Method not allowed"
    return JSONResponse({"error": {"code": str(status), "message": message}}, status)


async def _issue_token(call: Call) -> Response:
    """GET /msi/token, as App Service's managed-identity endpoint answers it."""
    resource = call.query("resource")
    if call.query("api-version") != "2019-08-01" or not resource:
        raise ApiError(400, "invalid_request", "api-version=2019-08-01 and resource are required.")
    return JSONResponse(call.service.gate.issue(resource, call.query("client_id")))


async def _create_response(call: Call) -> Response:
    return await responses.create(call, call.request.app.state.model)


async def _create_chat(call: Call) -> Response:
    return await chat.create(call, call.request.app.state.model)


_RESPONSES: list[Entry] = [
    ("responses.create", "POST", "/responses", _create_response),
    ("responses.get", "GET", "/responses/{response_id}", responses.get),
    ("responses.delete", "DELETE", "/responses/{response_id}", responses.delete),
    ("responses.cancel", "POST", "/responses/{response_id}/cancel", responses.cancel),
    (
        "responses.input_items",
        "GET",
        "/responses/{response_id}/input_items",
        responses.list_input_items,
    ),
]
_FOUNDRY_ONLY: list[Entry] = [
    ("responses.list", "GET", "/responses", responses.list_all),
]
_RESOURCE_ONLY: list[Entry] = [
    ("chat.completions.create", "POST", "/chat/completions", _create_chat),
    ("models.list", "GET", "/models", catalog.list_models),
]
_ONE = "/conversations/{conversation_id}"
_CONVERSATIONS: list[Entry] = [
    ("conversations.create", "POST", "/conversations", conversations.create),
    ("conversations.list", "GET", "/conversations", conversations.list_all),
    ("conversations.get", "GET", _ONE, conversations.get),
    ("conversations.update", "POST", _ONE, conversations.update),
    ("conversations.delete", "DELETE", _ONE, conversations.delete),
    ("items.create", "POST", f"{_ONE}/items", conversations.create_items),
    ("items.list", "GET", f"{_ONE}/items", conversations.list_items),
    ("items.get", "GET", f"{_ONE}/items/{{item_id}}", conversations.get_item),
    ("items.delete", "DELETE", f"{_ONE}/items/{{item_id}}", conversations.delete_item),
]
_MANAGEMENT: list[Entry] = [
    ("agents.create", "POST", "/agents", agents.create),
    ("agents.list", "GET", "/agents", agents.list_all),
    ("agents.enable", "POST", "/agents/{name}:enable", agents.enable),
    ("agents.disable", "POST", "/agents/{name}:disable", agents.disable),
    ("agents.get", "GET", "/agents/{name}", agents.get),
    ("agents.update", "POST", "/agents/{name}", agents.update),
    ("agents.delete", "DELETE", "/agents/{name}", agents.delete),
    ("agents.versions.create", "POST", "/agents/{name}/versions", agents.create_version),
    ("agents.versions.list", "GET", "/agents/{name}/versions", agents.list_versions),
    ("agents.versions.get", "GET", "/agents/{name}/versions/{version}", agents.get_version),
    (
        "agents.versions.delete",
        "DELETE",
        "/agents/{name}/versions/{version}",
        agents.delete_version,
    ),
    ("deployments.list", "GET", "/deployments", catalog.list_deployments),
    ("deployments.get", "GET", "/deployments/{name}", catalog.get_deployment),
    ("connections.list", "GET", "/connections", catalog.list_connections),
    ("connections.get", "GET", "/connections/{name}", catalog.get_connection),
]
