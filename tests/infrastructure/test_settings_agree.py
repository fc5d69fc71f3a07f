"""The settings class, the templates, host.json, the sample and the documentation say one thing.

A failure says what to add where.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta

import pytest
from azure.storage.queue.aio import QueueServiceClient

from local.host.settings import OVERRIDE_PREFIX
from local.services import Azurite
from shared.config import AppSettings, Env
from shared.foundry.errors import AuthenticationError, RateLimitedError
from shared.jobs.queue import AzureQueues, WakeUp
from shared.state.keys import Kind, new_id

from .allowed import NOT_IN_AZURE, PLATFORM_SETTINGS
from .bicep import Source
from .deployment import Deployment
from .project import ROOT, Project
from .triggers import read_triggers

HEARTBEAT = timedelta(minutes=5)
"""The alert looks at 15 minutes, so a timer that may be its heartbeat runs at least this often."""

QUEUES_OF_OTHERS = {"REPLY_QUEUES"}
"""Settings that name queues which those who read them make."""

PARAMETERS = "infra/main.parameters.json, under parameters.settings"


@pytest.fixture(scope="module")
def project() -> Project:
    return Project.load(ROOT)


def _fields() -> dict[str, tuple[Env, object]]:
    """Every variable of the settings class with its default."""
    return {
        env.name: (env, group.model_fields[field].default)
        for _, group in AppSettings._groups()
        for field, env in group.variables().items()
    }


def _emitted(deployment: Deployment) -> dict[str, str]:
    site = deployment.of_type("Microsoft.Web/sites")[0]
    return {s["name"]: s["value"] for s in site.body["properties"]["siteConfig"]["appSettings"]}


def test_the_template_emits_every_setting_and_no_other(project: Project) -> None:
    known = set(_fields()) - set(NOT_IN_AZURE)
    for scenario, deployment in project.deployments.items():
        emitted = set(_emitted(deployment))
        missing = known - emitted
        assert not missing, (
            f"{scenario}: add {sorted(missing)} to {PARAMETERS}, as "
            '"NAME": "${NAME=default}"; or, where a resource decides the value, to appSettings of '
            "functionApp in infra/main.bicep; or, where Azure must not have it, to NOT_IN_AZURE "
            "in tests/infrastructure/allowed.py with the reason"
        )
        surplus = emitted - known - PLATFORM_SETTINGS
        assert not surplus, (
            f"{scenario}: nothing reads {sorted(surplus)}: remove them from {PARAMETERS} or "
            "infra/main.bicep, add them to shared/config, or, where the platform reads them, "
            "to PLATFORM_SETTINGS in tests/infrastructure/allowed.py"
        )
        assert emitted >= PLATFORM_SETTINGS


def test_the_parameters_have_the_defaults_of_the_settings_class(project: Project) -> None:
    fields = _fields()
    emitted = _emitted(project.deployments["nothing chosen"])
    parameters = json.loads((ROOT / "infra/main.parameters.json").read_text())["parameters"]
    for name in parameters["settings"]["value"]:
        default = fields[name][1]
        text = str(default).lower() if isinstance(default, bool) else str(default)
        assert emitted[name] == text, f"{name}: shared/config says {text!r}; change {PARAMETERS}"
        assert parameters["settings"]["value"][name].startswith(f"${{{name}")


def _filled_in(emitted: dict[str, str]) -> dict[str, str]:
    """Settings with values of Azure's form where a deployment knows only whose they will be."""

    def filled(name: str, value: str) -> str:
        if not value.startswith("<"):
            return value
        if name == "APPLICATIONINSIGHTS_CONNECTION_STRING":
            return "InstrumentationKey=00000000-0000-0000-0000-000000000000"
        if name.endswith(("Uri", "_ENDPOINT")):
            return "https://acme.example/" + value.removesuffix(">").rpartition(">")[2]
        return "00000000-0000-0000-0000-000000000000"

    return {name: filled(name, value) for name, value in emitted.items()}


def test_the_app_starts_with_what_the_template_emits(project: Project) -> None:
    for deployment in project.deployments.values():
        settings = AppSettings.from_env(_filled_in(_emitted(deployment)))
        assert settings.foundry.endpoint_url
        assert settings.storage.table_service_uri
        assert not settings.foundry.api_key


def test_the_documentation_lists_what_the_platform_reads() -> None:
    page = (ROOT / "docs/settings.md").read_text().partition("## Platform")[2]
    rows = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    missing = PLATFORM_SETTINGS - rows
    assert not missing, f"add rows for {sorted(missing)} to docs/settings.md, under Platform"


def test_the_sample_has_only_settings_that_something_reads() -> None:
    values = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    page = (ROOT / "docs/settings.md").read_text().partition("## Platform")[2]
    platform = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    unknown = set(values) - set(_fields()) - platform
    assert not unknown, f"local.settings.sample.json: nothing reads {sorted(unknown)}"
    assert "AzureWebJobsStorage" in values
    AppSettings.from_env(values)


def test_host_json_is_overridden_nowhere(project: Project) -> None:
    """One owner for each of the host's settings: host.json."""
    for deployment in project.deployments.values():
        assert not [n for n in _emitted(deployment) if n.startswith(OVERRIDE_PREFIX)]
    assert (
        json.loads((ROOT / "host.json").read_text())["extensions"]["http"]["routePrefix"] == "api"
    )


async def test_the_app_encodes_messages_as_host_json_says(azurite: Azurite) -> None:
    lane = new_id(Kind.THREAD)
    async with QueueServiceClient.from_connection_string(azurite.connection_string) as service:
        await AzureQueues(service, "encoded-lanes", "encoded-deliveries").wake("an-owner", lane)
        (message,) = await service.get_queue_client("encoded-lanes").peek_messages()
    assert WakeUp.parse(base64.b64decode(message.content)) == WakeUp("an-owner", lane)
    queues = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
    assert queues["messageEncoding"] == "base64"


def test_settings_that_name_queues_and_tables_are_recognised() -> None:
    """The template makes a queue or table of each setting by the end of its name."""
    for name, (_, default) in _fields().items():
        if "QUEUE" in name.upper() and "URI" not in name.upper() and name not in QUEUES_OF_OTHERS:
            assert name.endswith("_QUEUE_NAME"), f"{name}: call it ..._QUEUE_NAME"
        if "TABLE" in name.upper() and "URI" not in name.upper():
            assert name.endswith("_TABLE_NAME"), f"{name}: call it ..._TABLE_NAME"
        if name.endswith(("_QUEUE_NAME", "_TABLE_NAME")):
            assert default, f"{name} needs a default"


# ---- functions named in the templates ----------------------------------------------------------


def test_the_scale_groups_are_the_queue_functions() -> None:
    source = Source.read(ROOT / "infra/modules/function-app.bicep")
    node = source.declarations["var"]["queueFunctions"].node
    named = set(re.findall(r"'(\w+)'", (node.text or b"").decode()))
    queues = {t.function: t.function + t.source for t in read_triggers("queue_trigger")}
    working = {name for name, source in queues.items() if "poison" not in source.lower()}
    assert named == working, "change queueFunctions in infra/modules/function-app.bicep"


def test_the_heartbeat_is_a_timer() -> None:
    source = Source.read(ROOT / "infra/main.bicep")
    node = source.declarations["var"]["heartbeatFunction"].node
    named = re.findall(r"'(\w*)'", (node.text or b"").decode())[0]
    timers = [t.function for t in read_triggers("timer_trigger") if t.interval() <= HEARTBEAT]
    assert named in (timers or [""]), f"set heartbeatFunction in infra/main.bicep: one of {timers}"


def test_alert_queries_look_for_what_the_app_says() -> None:
    queries = {q.stem: q.read_text() for q in (ROOT / "infra/modules/queries").glob("*.kql")}
    assert RateLimitedError.code in queries["rate-limited"]
    assert AuthenticationError.code in queries["sign-in-failures"]
    (inlet,) = (
        trigger.function
        for trigger in read_triggers("queue_trigger")
        if "inlet_queue" in trigger.source and "poison" not in trigger.source.lower()
    )
    assert f"'{inlet}'" in queries["queue-age"]
