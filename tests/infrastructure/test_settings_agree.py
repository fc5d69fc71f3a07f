"""The settings class, the templates, host.json, the sample and the documentation say one thing.

A failure says what to add where.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta

from azure.storage.queue.aio import QueueServiceClient

from local.host.settings import OVERRIDE_PREFIX
from local.services import Azurite
from shared.config import AppSettings, Env, StorageSettings
from shared.foundry.errors import AuthenticationError, RateLimitedError
from shared.jobs.queue import WakeUp, open_queues
from shared.state.keys import Kind, new_id

from .allowed import NOT_IN_AZURE, PLATFORM_SETTINGS
from .project import (
    BASE,
    ROOT,
    SECRETS,
    Project,
    decided_settings,
    offered_settings,
    secret_settings,
)
from .triggers import read_triggers

HEARTBEAT = timedelta(minutes=5)
"""The alert looks at 15 minutes, so a timer that may be its heartbeat runs at least this often."""

QUEUES_OF_OTHERS = {"REPLY_QUEUES"}
"""Settings that name queues which those who read them make."""

GUID = "22222222-0000-0000-0000-000000000000"


def _fields() -> dict[str, tuple[Env, object]]:
    """Every variable of the settings class with its default."""
    return {
        env.name: (env, group.model_fields[field].default)
        for _, group in AppSettings._groups()
        for field, env in group.variables().items()
    }


def _secret_names() -> set[str]:
    """The variables of the fields that are never shown."""
    return {
        env.name
        for _, group in AppSettings._groups()
        for field, env in group.variables().items()
        if group.model_fields[field].repr is False
    }


def test_the_template_knows_every_setting_and_no_other() -> None:
    offered = offered_settings() | secret_settings()
    decided = decided_settings()
    known = set(_fields()) - set(NOT_IN_AZURE)
    missing = known - offered - decided
    assert not missing, (
        f"add {sorted(missing)} to settings in infra/main.bicepparam and to Settings in "
        "infra/types.bicep; or, where it is a secret, to secretSettings in infra/main.bicepparam; "
        "or, where a resource decides the value, to appSettings of functionApp in "
        "infra/main.bicep; or, where Azure must not have it, to NOT_IN_AZURE in "
        "tests/infrastructure/allowed.py with the reason"
    )
    surplus = (offered | decided) - known - PLATFORM_SETTINGS
    assert not surplus, (
        f"nothing reads {sorted(surplus)}: remove them from infra/, add them to shared/config, or, "
        "where the platform reads them, to PLATFORM_SETTINGS in tests/infrastructure/allowed.py"
    )
    assert decided >= PLATFORM_SETTINGS


def test_secrets_are_given_as_secrets() -> None:
    hidden = _secret_names() - set(NOT_IN_AZURE)
    assert secret_settings() == hidden, (
        "secretSettings in infra/main.bicepparam are the fields of shared/config with repr=False"
    )


def test_the_app_gets_what_the_template_decides(project: Project) -> None:
    emitted = set(project.deployments["everything"].settings())
    assert emitted == (emitted & offered_settings()) | decided_settings() | set(SECRETS)


def test_every_setting_reaches_the_app_as_it_was_set(project: Project) -> None:
    parameters = project.bicep.parameters(project.parameters_file(BASE))
    given = {
        name: f"x{name.lower()}".replace("_", "")[:40]
        for name in parameters["settings"]
        if name != "FOUNDRY_AGENT_SERVICE_ENDPOINT"
    }
    emitted = project.deploy(given).settings()
    assert {name: emitted.get(name) for name in given} == given


def test_what_is_not_set_is_left_to_the_app(project: Project) -> None:
    """Only names that become resources have a default here: that of the settings class."""
    fields = _fields()
    settings = project.bicep.parameters(project.parameters_file(BASE))["settings"]
    defaults = {name: text for name, text in settings.items() if text}
    assert set(defaults) == {
        "FOUNDRY_MODEL",
        *(name for name in fields if name.endswith(("_QUEUE_NAME", "_TABLE_NAME"))),
    }
    for name, text in defaults.items():
        assert text == fields[name][1], f"{name}: shared/config says {fields[name][1]!r}"
    emitted = project.deployments["nothing chosen"].settings()
    assert not [name for name, text in emitted.items() if not text]


def test_the_app_starts_with_what_the_template_emits(project: Project) -> None:
    for deployment in project.deployments.values():
        settings = AppSettings.from_env(_as_in_azure(deployment.settings()))
        assert settings.foundry.endpoint_url
        assert settings.storage.table_service_uri


def _as_in_azure(emitted: dict[str, str]) -> dict[str, str]:
    """App settings with values of Azure's form in the place of what only a deployment knows."""

    def known(name: str, value: str) -> str:
        if value.startswith("@Microsoft.KeyVault("):
            return SECRETS.get(name, "a key")
        if not value.startswith("["):
            return value
        if name == "APPLICATIONINSIGHTS_CONNECTION_STRING":
            return f"InstrumentationKey={GUID}"
        if name.endswith("Uri"):
            return "https://acme.example/"
        if name == "FOUNDRY_AGENT_SERVICE_ENDPOINT":
            return "https://acme.services.ai.azure.com/api/projects/p"
        return GUID

    return {name: known(name, value) for name, value in emitted.items()}


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
        assert not [n for n in deployment.settings() if n.startswith(OVERRIDE_PREFIX)]
    assert json.loads((ROOT / "host.json").read_text())["extensions"]["http"]["routePrefix"] == ""


async def test_the_app_encodes_messages_as_host_json_says(azurite: Azurite) -> None:
    lane = new_id(Kind.THREAD)
    storage = StorageSettings(connection_string=azurite.connection_string)
    queues = open_queues(storage, None, "encoded-lanes", "encoded-deliveries")
    await queues.wake("an-owner", lane)
    await queues.aclose()
    async with QueueServiceClient.from_connection_string(azurite.connection_string) as service:
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
    source = (ROOT / "infra/modules/function-app.bicep").read_text()
    block = source.partition("var queueFunctions = [")[2].partition("]")[0]
    named = set(re.findall(r"'(\w+)'", block))
    queues = {t.function: t.function + t.source for t in read_triggers("queue_trigger")}
    working = {name for name, source in queues.items() if "poison" not in source.lower()}
    assert named == working, "change queueFunctions in infra/modules/function-app.bicep"


def test_the_heartbeat_is_a_timer() -> None:
    source = (ROOT / "infra/main.bicep").read_text()
    (named,) = re.findall(r"var heartbeatFunction = '(\w*)'", source)
    timers = [t.function for t in read_triggers("timer_trigger") if t.interval() <= HEARTBEAT]
    assert named in (timers or [""]), f"set heartbeatFunction in infra/main.bicep: one of {timers}"


def test_alert_queries_look_for_what_the_app_says() -> None:
    queries = {q.stem: q.read_text() for q in (ROOT / "infra/modules/queries").glob("*.kql")}
    assert RateLimitedError.code in queries["rate-limited"]
    assert AuthenticationError.code in queries["sign-in-failures"]
    (intake,) = (
        trigger.function
        for trigger in read_triggers("queue_trigger")
        if "intake_queue" in trigger.source and "poison" not in trigger.source.lower()
    )
    assert f"'{intake}'" in queries["queue-age"]
