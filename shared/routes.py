"""The table of all routes, which registration, trace spans and tests use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from .api.audit import AuditApi
from .api.contract import catalogue, jobs, keys, records, service, threads, turns
from .api.jobs import JobsApi
from .api.keys import KeysApi
from .api.me import MeApi, OwnDataApi
from .api.messages import MessagesApi
from .api.metrics import MetricsApi
from .api.models import ModelsApi
from .api.operations import OperationsApi
from .api.orchestrate import OrchestrateApi
from .api.reference import ReferenceApi
from .api.threads import ThreadsApi
from .api.tools import ToolsApi
from .api.usage import UsageApi
from .audit.trail import Action
from .console.contract import CONSOLE, CONSOLE_FILE
from .console.pages import ConsolePages
from .http.answers import Answer, Handler, OpenHandler
from .http.faces import NATIVE, Face, Refusal
from .http.operation import Operation
from .http.request import Incoming
from .http.serve import Edge, Endpoint, serve, serve_open
from .mcp.contract import SEND_MCP_MESSAGE
from .mcp.server import MCP, McpServer
from .openai import contract as face
from .openai.api import OpenAiApi
from .openai.errors import OPENAI, unknown_url
from .problems import NOT_FOUND, Problem, ProblemKind

BASE = "api/"
"""The beginning of every template except the console's. No function may match `/docs`, `/docs/oauth2-redirect`, `/redoc` or
`/openapi.json`, which the worker's own web server answers while the function waits for a request
that never comes; nor what belongs to the platform: `/admin`, `/runtime` and `/.auth`."""

OPENAI_BASE = f"{BASE}v1/"
"""The beginning of the templates of the OpenAI-compatible face."""


@dataclass(frozen=True, slots=True)
class Api:
    """The handlers of all resources."""

    audit: AuditApi
    console: ConsolePages
    jobs: JobsApi
    keys: KeysApi
    me: MeApi
    mcp: McpServer
    messages: MessagesApi
    metrics: MetricsApi
    models: ModelsApi
    operations: OperationsApi
    orchestrate: OrchestrateApi
    own_data: OwnDataApi
    reference: ReferenceApi
    threads: ThreadsApi
    tools: ToolsApi
    usage: UsageApi
    openai: OpenAiApi


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one address."""

    name: str
    """The function's name, by which the Functions host orders routes."""
    method: str
    template: str
    """The address without the first slash; a part in braces is a parameter."""
    handler: Callable[[Api], Handler]
    operation: Operation
    """What it takes and what it answers."""
    action: Action | None = None
    """The action in the audit trail; None where nothing is recorded."""
    face: Face = NATIVE
    is_open: ClassVar[bool] = False
    """Whether the route needs no key and no token."""

    @property
    def methods(self) -> list[str]:
        """The methods of the route; every GET route also answers HEAD."""
        return ["GET", "HEAD"] if self.method == "GET" else [self.method]

    async def answer(self, edge: Edge, api: Api, request: Request) -> Response:
        """Answer a request of this route."""
        handler, query = self.handler(api), self.operation.query
        endpoint = Endpoint(handler, query, self.action, f"/{self.template}", self.face)
        return await serve(edge, request, endpoint)


@dataclass(frozen=True, slots=True)
class OpenRoute(Route):
    """A route without authentication; its handler must not return data of an owner."""

    handler: Callable[[Api], OpenHandler]
    is_open: ClassVar[bool] = True

    async def answer(self, edge: Edge, api: Api, request: Request) -> Response:
        """Answer a request without authentication."""
        return await serve_open(request, self.handler(api), self.operation.query)


# One route a line, however long.
# fmt: off
# ruff: noqa: E501
ROUTES: tuple[Route, ...] = (
    Route("erase_my_data", "DELETE", "api/me/data", lambda api: api.own_data.erase, records.ERASE_MY_DATA, Action.DATA_ERASE),
    Route("send_message", "POST", "api/messages", lambda api: api.messages.send, turns.SEND_MESSAGE, Action.SEND),
    Route("create_thread", "POST", "api/threads", lambda api: api.threads.create, threads.CREATE_THREAD, Action.THREAD_CREATE),
    Route("list_threads", "GET", "api/threads", lambda api: api.threads.list_, threads.LIST_THREADS, Action.THREAD_READ),
    Route("get_thread", "GET", "api/threads/{thread_id}", lambda api: api.threads.get, threads.GET_THREAD, Action.THREAD_READ),
    Route("patch_thread", "PATCH", "api/threads/{thread_id}", lambda api: api.threads.patch, threads.PATCH_THREAD, Action.THREAD_CHANGE),
    Route("delete_thread", "DELETE", "api/threads/{thread_id}", lambda api: api.threads.delete, threads.DELETE_THREAD, Action.THREAD_DELETE),
    Route("list_thread_messages", "GET", "api/threads/{thread_id}/messages", lambda api: api.threads.list_messages, threads.LIST_THREAD_MESSAGES, Action.THREAD_READ),
    Route("send_thread_message", "POST", "api/threads/{thread_id}/messages", lambda api: api.threads.send_message, turns.SEND_THREAD_MESSAGE, Action.SEND),
    Route("submit_job", "POST", "api/jobs", lambda api: api.jobs.submit, jobs.SUBMIT_JOB, Action.JOB_SUBMIT),
    Route("list_jobs", "GET", "api/jobs", lambda api: api.jobs.list_, jobs.LIST_JOBS, Action.JOB_READ),
    Route("get_job", "GET", "api/jobs/{job_id}", lambda api: api.jobs.get, jobs.GET_JOB, Action.JOB_READ),
    Route("cancel_job", "POST", "api/jobs/{job_id}/cancel", lambda api: api.jobs.cancel, jobs.CANCEL_JOB, Action.JOB_CANCEL),
    Route("orchestrate_message", "POST", "api/orchestrate", lambda api: api.orchestrate.send, turns.ORCHESTRATE_MESSAGE, Action.SEND),
    Route("mcp", "POST", "api/mcp", lambda api: api.mcp.post, SEND_MCP_MESSAGE, Action.MCP_REQUEST, MCP),
    Route("list_models", "GET", "api/models", lambda api: api.models.list_, catalogue.LIST_MODELS),
    Route("list_tools", "GET", "api/tools", lambda api: api.tools.list_, catalogue.LIST_TOOLS),
    Route("show_me", "GET", "api/me", lambda api: api.me.show, catalogue.SHOW_ME, Action.USAGE_READ),
    Route("read_metrics", "GET", "api/metrics", lambda api: api.metrics.show, records.READ_METRICS, Action.USAGE_READ),
    Route("read_usage", "GET", "api/usage", lambda api: api.usage.show, records.READ_USAGE, Action.USAGE_READ),
    Route("list_audit_records", "GET", "api/audit", lambda api: api.audit.list_, records.LIST_AUDIT_RECORDS, Action.AUDIT_READ),
    Route("create_key", "POST", "api/keys", lambda api: api.keys.create, keys.CREATE_KEY, Action.KEY_CREATE),
    Route("list_keys", "GET", "api/keys", lambda api: api.keys.list_, keys.LIST_KEYS, Action.KEY_READ),
    Route("get_key", "GET", "api/keys/{key_id}", lambda api: api.keys.get, keys.GET_KEY, Action.KEY_READ),
    Route("revoke_key", "DELETE", "api/keys/{key_id}", lambda api: api.keys.revoke, keys.REVOKE_KEY, Action.KEY_REVOKE),
    Route("list_openai_models", "GET", "api/v1/models", lambda api: api.openai.models.list_, face.LIST_MODELS, face=OPENAI),
    Route("show_openai_model", "GET", "api/v1/models/{model_id}", lambda api: api.openai.models.get, face.GET_MODEL, face=OPENAI),
    Route("create_chat_completion", "POST", "api/v1/chat/completions", lambda api: api.openai.chat.complete, face.CREATE_CHAT_COMPLETION, Action.SEND, face=OPENAI),
    Route("create_response", "POST", "api/v1/responses", lambda api: api.openai.responses.create, face.CREATE_RESPONSE, Action.SEND, face=OPENAI),
    Route("get_response", "GET", "api/v1/responses/{response_id}", lambda api: api.openai.responses.get, face.GET_RESPONSE, Action.RESPONSE_READ, face=OPENAI),
    Route("delete_response", "DELETE", "api/v1/responses/{response_id}", lambda api: api.openai.responses.delete, face.DELETE_RESPONSE, Action.RESPONSE_DELETE, face=OPENAI),
    Route("cancel_response", "POST", "api/v1/responses/{response_id}/cancel", lambda api: api.openai.responses.cancel, face.CANCEL_RESPONSE, Action.JOB_CANCEL, face=OPENAI),
    Route("list_input_items", "GET", "api/v1/responses/{response_id}/input_items", lambda api: api.openai.responses.list_input_items, face.LIST_INPUT_ITEMS, Action.RESPONSE_READ, face=OPENAI),
    Route("create_conversation", "POST", "api/v1/conversations", lambda api: api.openai.conversations.create, face.CREATE_CONVERSATION, Action.THREAD_CREATE, face=OPENAI),
    Route("get_conversation", "GET", "api/v1/conversations/{conversation_id}", lambda api: api.openai.conversations.get, face.GET_CONVERSATION, Action.THREAD_READ, face=OPENAI),
    Route("update_conversation", "POST", "api/v1/conversations/{conversation_id}", lambda api: api.openai.conversations.update, face.UPDATE_CONVERSATION, Action.THREAD_CHANGE, face=OPENAI),
    Route("delete_conversation", "DELETE", "api/v1/conversations/{conversation_id}", lambda api: api.openai.conversations.delete, face.DELETE_CONVERSATION, Action.THREAD_DELETE, face=OPENAI),
    Route("list_items", "GET", "api/v1/conversations/{conversation_id}/items", lambda api: api.openai.conversations.list_items, face.LIST_ITEMS, Action.THREAD_READ, face=OPENAI),
    Route("add_items", "POST", "api/v1/conversations/{conversation_id}/items", lambda api: api.openai.conversations.add_items, face.ADD_ITEMS, Action.THREAD_CHANGE, face=OPENAI),
    Route("get_item", "GET", "api/v1/conversations/{conversation_id}/items/{item_id}", lambda api: api.openai.conversations.get_item, face.GET_ITEM, Action.THREAD_READ, face=OPENAI),
    Route("delete_item", "DELETE", "api/v1/conversations/{conversation_id}/items/{item_id}", lambda api: api.openai.conversations.delete_item, face.DELETE_ITEM, Action.THREAD_CHANGE, face=OPENAI),
    OpenRoute("health", "GET", "api/health", lambda api: api.operations.health, service.HEALTH),
    Route("readiness", "GET", "api/health/ready", lambda api: api.operations.ready, service.READINESS),
    Route("prometheus", "GET", "api/metrics/prometheus", lambda api: api.operations.prometheus, service.PROMETHEUS),
    OpenRoute("openapi_document", "GET", "api/openapi.json", lambda api: api.reference.openapi, service.OPENAPI),
    OpenRoute("docs_page", "GET", "api/docs", lambda api: api.reference.file("index.html"), service.DOCS),
    OpenRoute("docs_script", "GET", "api/docs/start.js", lambda api: api.reference.file("start.js"), service.DOCS_FILE),
    OpenRoute("docs_style", "GET", "api/docs/swagger-ui.css", lambda api: api.reference.file("swagger-ui.css"), service.DOCS_FILE),
    OpenRoute("docs_viewer", "GET", "api/docs/swagger-ui-bundle.js", lambda api: api.reference.file("swagger-ui-bundle.js"), service.DOCS_FILE),
    OpenRoute("console", "GET", "console", lambda api: api.console.page, CONSOLE),
    OpenRoute("console_file", "GET", "console/{file}", lambda api: api.console.file, CONSOLE_FILE),
    OpenRoute("console_nested_file", "GET", "console/{folder}/{file}", lambda api: api.console.nested_file, CONSOLE_FILE),
)
# fmt: on


class Unmatched:
    """Answers requests that match none of the app's routes."""

    def __init__(self, routes: Iterable[tuple[str, str]]) -> None:
        """``routes`` are pairs of a method and a template such as ``api/threads/{thread_id}``."""
        known = list(routes)
        self._templates = [(method, template) for method, template in known if method != "HEAD"]
        self._routes = [(method, _pattern(template)) for method, template in known]

    def methods(self, path: str) -> list[str]:
        """The methods of a path; empty for an unknown path.

        Like the Functions host, this ignores letter case and a trailing slash.
        """
        path = path.removesuffix("/")
        return sorted(method for method, pattern in self._routes if pattern.fullmatch(path))

    async def answer(self, incoming: Incoming) -> Answer:
        """405 for a known path with another method, 404 for an unknown path."""
        path = BASE + incoming.path.get("path", "")
        is_openai = path.lower().startswith(OPENAI_BASE)
        problem, headers = self._not_found(is_openai=is_openai), dict[str, str]()
        methods = self.methods(path)
        if methods and incoming.request.method not in methods:
            allowed = ", ".join(methods)
            headers["Allow"] = allowed
            problem = Problem(
                ProblemKind.METHOD_NOT_ALLOWED,
                f"This address takes {allowed}.",
            )
        answer = Answer(problem.to_json(incoming.request_id), problem.status, headers)
        return OPENAI.refuse(Refusal(answer, may_have_run=False)) if is_openai else answer

    def _not_found(self, *, is_openai: bool) -> Problem:
        if not is_openai:
            return NOT_FOUND
        addresses = (f"{method} /{template}" for method, template in self._templates)
        return unknown_url([each for each in addresses if f" /{OPENAI_BASE}" in each])


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)), re.IGNORECASE)
