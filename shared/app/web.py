"""The parts that answer HTTP requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from ..api.audit import AuditApi
from ..api.deferred import DeferredSends
from ..api.jobs import JobsApi
from ..api.keys import KeysApi
from ..api.me import MeApi, OwnDataApi
from ..api.messages import MessagesApi
from ..api.metrics import MetricsApi
from ..api.models import ModelsApi
from ..api.operations import OperationsApi
from ..api.orchestrate import OrchestrateApi
from ..api.reference import ReferenceApi
from ..api.threads import ThreadsApi
from ..api.tools import ToolsApi
from ..api.usage import UsageApi
from ..audit.reading import AuditReader
from ..config import AGENT_IS_LABEL, POISON_SUFFIX, AuthMode
from ..console.pages import ConsolePages
from ..foundry.errors import FoundryError
from ..http.client_keys import KeyVerifier
from ..http.principal import Access
from ..http.serve import Edge
from ..jobs.cancellation import Cancellation
from ..mcp.origins import Origins
from ..mcp.server import McpServer
from ..mcp.tools import Parts
from ..metering.gauges import Gauges
from ..metering.reading import MetricsReader
from ..observability import probes
from ..observability.readiness import Dependency, Readiness
from ..openai.api import OpenAiApi, OpenAiParts, build_openai
from ..openai.conversations import ConversationsApi
from ..orchestration.catalogue import Catalogue
from ..routes import ROUTES, Api
from ..state.errors import StateError
from ..state.idempotency import IdempotencyKeys
from ..threads.creation import Creation
from .background import Timers
from .core import Core

NO_ROW = ("$ready", "probe")
"""Partition and row key of a row that does not exist, which is the cheapest read."""


@dataclass(frozen=True, slots=True)
class Web:
    """The parts that answer HTTP requests."""

    edge: Edge
    api: Api


def build_web(core: Core, timers: Timers, readiness: Readiness) -> Web:
    """Build the handlers of all routes, and what every request passes."""
    verifier = KeyVerifier(core.client_keys, core.clock)
    settings = core.settings
    access = Access(settings.access, verifier, has_console=settings.console.is_on)
    edge = Edge(access, core.limits, core.meter, core.audit, core.clock)
    return Web(edge, _api(core, timers, readiness, edge))


def _api(core: Core, timers: Timers, readiness: Readiness, edge: Edge) -> Api:
    settings, clock, table, limits = core.settings, core.clock, core.tables.state, core.limits
    keys = IdempotencyKeys(
        table,
        clock,
        record_content=settings.storage.record_content,
        hold_seconds=settings.storage.lease_seconds,
    )
    reader = MetricsReader(core.tables.metrics, core.meter, clock)
    removal, cancellation = timers.removal, Cancellation(core.jobs, table, core.queues, clock)
    creation = Creation(core.foundry, clock)
    jobs = JobsApi(core.jobs, core.submission, cancellation, limits, keys)
    catalogue = Catalogue(core.router, settings, core.prices, core.option_limits)
    messages = MessagesApi(core.turns, keys, core.option_limits, settings, DeferredSends(jobs))
    threads = ThreadsApi(core.threads, core.foundry, removal, messages, limits, keys, creation)
    usage = UsageApi(reader, core.prices, clock)
    conversations = ConversationsApi(
        threads=core.threads,
        lanes=core.lanes,
        creation=creation,
        removal=removal,
        foundry=core.foundry,
        limits=limits,
        keys=keys,
    )
    return Api(
        audit=AuditApi(AuditReader(core.tables.audit, core.tables.state), clock),
        console=ConsolePages.build(settings.access.mode, is_on=settings.console.is_on),
        jobs=jobs,
        keys=KeysApi(
            core.client_keys,
            edge.access.keys,
            keys,
            settings.access.mode,
            prices=core.prices,
            clock=clock,
        ),
        me=MeApi(core.budgets, settings.access.known_departments, limits),
        mcp=McpServer(edge, Parts(messages, threads, jobs, usage), Origins(settings.access)),
        messages=messages,
        metrics=MetricsApi(reader, core.meter, Gauges(table, clock), core.router),
        models=ModelsApi(catalogue),
        operations=OperationsApi(readiness, reader, core.prices),
        orchestrate=OrchestrateApi(messages),
        own_data=OwnDataApi(timers.erasures),
        reference=ReferenceApi(_api_document(settings.access.mode)),
        threads=threads,
        tools=ToolsApi(core.foundry),
        usage=usage,
        openai=_openai(core, keys, catalogue, cancellation, conversations),
    )


def _openai(
    core: Core,
    keys: IdempotencyKeys,
    catalogue: Catalogue,
    cancellation: Cancellation,
    conversations: ConversationsApi,
) -> OpenAiApi:
    return build_openai(
        OpenAiParts(
            core.turns,
            keys,
            catalogue,
            core.foundry,
            core.tables.state,
            core.clock,
            jobs=core.jobs,
            submission=core.submission,
            cancellation=cancellation,
            conversations=conversations,
        )
    )


def _api_document(mode: AuthMode) -> Callable[[], bytes]:
    """A function that builds the API document on its first call."""

    @cache
    def build() -> bytes:
        from ..api.document import document_file

        return document_file(ROUTES, mode)

    return build


def dependencies(core: Core) -> dict[str, Dependency]:
    """The checks of the app's dependencies, by the names in the readiness report."""
    jobs, foundry, queues = core.settings.jobs, core.foundry, core.queues
    names = (jobs.intake_queue, jobs.lanes_queue, core.settings.callbacks.deliveries_queue)
    poison = [name + POISON_SUFFIX for name in names]
    label = AGENT_IS_LABEL if foundry.config.agent_is_label else ""
    return {
        "foundry": probes.answers(
            foundry.check, "FOUNDRY_AGENT_SERVICE_ENDPOINT", FoundryError, warning=label
        ),
        "credential": probes.answers(foundry.authenticate, "AZURE_CLIENT_ID", FoundryError),
        "table": probes.answers(
            partial(core.tables.state.get, *NO_ROW), probes.STORAGE, StateError
        ),
        "queues": probes.lag(queues.oldest_seconds, names, StateError),
        "poison": probes.poison(queues.count, poison, StateError),
        "models": probes.breakers(core.router.breaker_states),
    }
