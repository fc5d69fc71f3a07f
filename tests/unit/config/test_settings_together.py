"""Settings are judged together at start: each wrong one is named, whatever else is wrong."""

from __future__ import annotations

import logging

import pytest

from shared.config import AppSettings, FoundryAgentServiceConfig, JobSettings, SettingsError
from shared.config.jobs import CallbackHost

PROJECT = "https://acme.services.ai.azure.com/api/projects/p"
RESOURCE = "https://acme.openai.azure.com"
GUID = "0a1b2c3d-1111-2222-3333-444455556666"


def problems(**environ: str) -> list[str]:
    return AppSettings.read(environ)[1]


WRONG = {
    "FOUNDRY_AGENT_SERVICE_ENDPOINT": "https://acme.services.ai.azure.com/models",
    "FOUNDRY_TIMEOUT": "true",
    "FOUNDRY_TEMPERATURE": "nan",
    "FOUNDRY_TOP_P": "-0.1",
    "FOUNDRY_MAX_TOKENS": "inf",
    "FOUNDRY_MAX_RETRIES": "yes",
    "FOUNDRY_ENABLE_FOUNDRY_TOOLS": "2",
    "FOUNDRY_VECTOR_STORE_IDS": "vs_abc;vs_def",
    "FOUNDRY_TIMOUT": "60",
    "AUTH_MODE": "both",
    "AUTH_CLIENT_IDS": f"{GUID}, everyone",
    "AUTH_ISSUERS": "login.microsoftonline.com",
    "AZURE_OPENAI_ENDPOINT": "acme.openai.azure.com",
    "VLLM_SERVER_URL": "vllm:8000",
    "MODEL_PREFERENCES": "sales=gpt",
    "STATE_TABLE_NAME": "my-table",
    "AUDIT_TABLE_NAME": "tables",
    "JOBS_QUEUE_NAME": "a--b",
    "CALLBACK_HOSTS": "https://host/x",
    "CALLBACK_SECRET": "secret",
    "REPLY_QUEUES": "replies, Replies",
    "FOUNDRY_LOG_CONTENT": "true",
    "RECORD_CONTENT": "false",
    "LANES_QUEUE_NAME": "agent-deliveries",
    "RETAIN_TURNS_DAYS": "-1",
    "PRICES": "{",
    "BUDGETS": '[{"owner": "*", "money": 5, "per": "day"}]',
    "AzureWebJobsStorage": "storage",
    "AzureWebJobsStorage__tableServiceUri": "acme.table.core.windows.net",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=key",
}

UNNAMED = {"AUTH_MODE", "BUDGETS", "FOUNDRY_LOG_CONTENT", "LANES_QUEUE_NAME", "RECORD_CONTENT"}
"""Named by a problem that begins with another variable, or right but for another one."""


def test_all_problems_come_at_once_also_with_rules_about_several() -> None:
    found = problems(**WRONG)
    assert {problem.split()[0] for problem in found} >= WRONG.keys() - UNNAMED
    for part in ("needs AUTH_TENANT_IDS", "RECORD_CONTENT forbids", "queue of LANES_QUEUE_NAME"):
        assert any(part in problem for problem in found), part
    with pytest.raises(SettingsError) as caught:
        AppSettings.from_env(WRONG)
    assert caught.value.problems == found
    for value in ("my-table", "everyone", "host/x", "sales=gpt", "Replies"):
        assert value not in str(caught.value)


@pytest.mark.parametrize("name", sorted(WRONG.keys() - {"BUDGETS", "PRICES", *UNNAMED}))
def test_each_is_named_alone(name: str) -> None:
    found = problems(**{name: WRONG[name]})
    assert found
    assert all(problem.startswith(name) for problem in found)


def test_an_azure_openai_resource_needs_a_deployment() -> None:
    (problem,) = problems(AZURE_OPENAI_ENDPOINT="https://acme.openai.azure.com")
    assert "AZURE_OPENAI_DEPLOYMENT" in problem


def test_both_services_of_an_account_are_set_or_none() -> None:
    (problem,) = problems(
        AzureWebJobsStorage__tableServiceUri="https://acme.table.core.windows.net"
    )
    assert problem.startswith("AzureWebJobsStorage__queueServiceUri is not set")


def test_prices_that_cannot_be_read_are_not_also_missing() -> None:
    (problem,) = problems(PRICES="{", BUDGETS='[{"owner": "*", "money": 5, "per": "day"}]')
    assert problem.startswith("PRICES")


@pytest.mark.parametrize("name", ["FOUNDRY_MODEL", "FOUNDRY_TIMEOUT", "CALLBACK_HOSTS", "PRICES"])
@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_is_no_value(name: str, blank: str) -> None:
    assert AppSettings.from_env({name: blank}) == AppSettings()


@pytest.mark.parametrize("value", [" a.example , ,b.example, ", ",", "a.example"])
def test_lists_are_trimmed(value: str) -> None:
    assert problems(CALLBACK_HOSTS=value) == []
    guids = value.replace("a.example", GUID).replace("b.example", GUID)
    assert problems(AUTH_CLIENT_IDS=guids) == []


def test_a_list_of_nothing_lets_nobody_in() -> None:
    (problem,) = problems(AUTH_MODE="entra", AUTH_TENANT_IDS=" , ", AUTH_AUDIENCES=",")
    assert "AUTH_TENANT_IDS" in problem


@pytest.mark.parametrize("name", ["timeout", "temperature", "max_tokens", "max_retries"])
def test_a_flag_is_no_number_in_code_either(name: str) -> None:
    with pytest.raises(ValueError, match="true or false"):
        FoundryAgentServiceConfig.model_validate({name: True})


def test_a_key_vault_reference_that_was_not_followed_is_named() -> None:
    (problem,) = problems(
        FOUNDRY_AGENT_SERVICE_API_KEY="@Microsoft.KeyVault(SecretUri=https://v.example/s)"
    )
    assert problem.startswith("FOUNDRY_AGENT_SERVICE_API_KEY is a Key Vault reference")


def test_an_app_with_a_key_at_a_project_endpoint_does_not_start() -> None:
    (problem,) = problems(
        FOUNDRY_AGENT_SERVICE_ENDPOINT=PROJECT, FOUNDRY_AGENT_SERVICE_API_KEY="key"
    )
    assert "takes Entra tokens only" in problem


@pytest.mark.parametrize(
    ("endpoint", "agent_id", "accepted"),
    [
        (PROJECT, "helper:3", True),
        (PROJECT, "asst_1", False),
        (PROJECT, GUID, False),
        (PROJECT, "my agent", False),
        (RESOURCE, "asst_1", True),
        (RESOURCE, "my agent", True),
        (RESOURCE, "a\nb", False),
        (RESOURCE, "a" * 257, False),
    ],
)
def test_an_agent_is_a_name_in_a_project_and_any_id_elsewhere(
    endpoint: str, agent_id: str, accepted: bool
) -> None:
    found = problems(FOUNDRY_AGENT_SERVICE_ENDPOINT=endpoint, FOUNDRY_AGENT_ID=agent_id)
    assert [problem.split()[0] for problem in found] == ([] if accepted else ["FOUNDRY_AGENT_ID"])


@pytest.mark.parametrize(
    "environ",
    [
        {"JOBS_QUEUE_NAME": "agent-lanes"},
        {"LANES_QUEUE_NAME": "one", "DELIVERIES_QUEUE_NAME": "one"},
        {"LANES_QUEUE_NAME": "agent-jobs-poison"},
        {"JOBS_QUEUE_NAME": "a" * 57},
        {"REPLY_QUEUES": "replies,agent-jobs"},
        {"REPLY_QUEUES": "agent-lanes"},
        {"REPLY_QUEUES": "agent-deliveries"},
        {"REPLY_QUEUES": "agent-jobs-poison"},
        {"REPLY_QUEUES": "mine", "JOBS_QUEUE_NAME": "mine"},
        {"STATE_TABLE_NAME": "AosAudit"},
        {"AUDIT_TABLE_NAME": "shared", "METRICS_TABLE_NAME": "Shared"},
        {"AUDIT_TABLE_NAME": "Tables"},
        {"AUDIT_TABLE_NAME": "ab"},
        {"AUDIT_TABLE_NAME": "a" * 64},
    ],
)
def test_names_that_collide_or_that_azure_refuses_are_refused(environ: dict[str, str]) -> None:
    (problem,) = problems(**environ)
    assert problem.split()[0] in {*environ, "LANES_QUEUE_NAME", "AUDIT_TABLE_NAME"}


def test_names_at_the_limits_of_azure_are_accepted() -> None:
    assert problems(JOBS_QUEUE_NAME="a" * 56, REPLY_QUEUES="b" * 63 + ",abc") == []
    assert problems(STATE_TABLE_NAME="a" * 63, AUDIT_TABLE_NAME="a1B") == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FOUNDRY_TIMOUT", "FOUNDRY_TIMEOUT"),
        ("FOUNDRY_TOPP", "FOUNDRY_TOP_P"),
        ("FOUNDRY_AGENT_SERVICE_ENDPONT", "FOUNDRY_AGENT_SERVICE_ENDPOINT"),
        ("Foundry_Timeout", "FOUNDRY_TIMEOUT"),
        ("AUTH_TENANT_ID", "AUTH_TENANT_IDS"),
        ("RETAIN_TURN_DAYS", "RETAIN_TURNS_DAYS"),
        ("CALLBACK_HOST", "CALLBACK_HOSTS"),
        ("PRICE", "PRICES"),
        ("AzureWebJobsStorage__TableServiceUri", "AzureWebJobsStorage__tableServiceUri"),
    ],
)
def test_a_slip_is_refused_with_what_was_meant(name: str, meant: str) -> None:
    assert problems(**{name: "1"}) == [f"{name} is no setting: did you mean {meant}?"]


@pytest.mark.parametrize(
    "name",
    [
        "AzureWebJobsStorage__blobServiceUri",
        "AzureWebJobsStorage__accountName",
        "AzureWebJobsStorage__credential",
        "AzureWebJobsStorage__clientId",
        "AzureWebJobs.receive_job.Disabled",
        "AzureFunctionsJobHost__logging__logLevel__default",
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
        "AZURE_OPENAI_API_VERSION",
        "AZURE_OPENAI_KEY",
        "OPENAI_ORG_ID",
        "VLLM_LOGGING_LEVEL",
        "WEBSITE_AUTH_CLIENT_ID",
        "WEBSITE_AUTH_ENABLED_X",
        "MICROSOFT_PROVIDER_AUTHENTICATION_SECRET",
        "FUNCTIONS_WORKER_RUNTIME",
        "PYTHON_ENABLE_INIT_INDEXING",
        "FOUNDRY_LOCAL_BACKEND",
        "FOUNDRY_PORT",
        "FOUNDRY_PROJECT_ENDPOINT",
        "AUTHORITY",
        "PRICE_LIST_OF_THE_SHOP",
    ],
)
def test_what_belongs_to_azure_or_to_others_is_left_alone(name: str) -> None:
    assert problems(**{name: "x"}) == []


def test_an_unknown_name_of_ours_is_logged_with_the_nearest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert problems(FOUNDRY_ENDPOINT="x", FOUNDRY_LOCAL_X="y") == []
    assert "FOUNDRY_ENDPOINT is no setting; did you mean FOUNDRY_AGENT_SERVICE_ENDPOINT?" in (
        caplog.text
    )
    assert "FOUNDRY_LOCAL_X" not in caplog.text


@pytest.mark.parametrize(
    "entry",
    [
        "https://host/x",
        "host/x",
        "*",
        "*host.example",
        "a.*.example",
        "host:0",
        "host:65536",
        "host:https",
        "user@host",
        "a b",
        "a..b",
        "-a.example",
        "[::1",
        "*.[::1]",
        "host?x",
        "a" * 64 + ".example",
    ],
)
def test_what_is_no_host_is_refused(entry: str) -> None:
    (problem,) = problems(CALLBACK_HOSTS=f"hooks.example,{entry}")
    assert problem.startswith("CALLBACK_HOSTS cannot be used: entry 2 ")


def test_a_host_matches_in_any_spelling() -> None:
    assert CallbackHost.parse("Hooks.Example.").matches("hooks.example", 443)
    assert CallbackHost.parse("bücher.example").matches("xn--bcher-kva.example", 443)
    assert CallbackHost.parse("[2001:db8::1]:8443").matches("2001:db8::1", 8443)
    below = CallbackHost.parse("*.example")
    assert below.matches("a.b.example", 443)
    assert not below.matches("example", 443)
    assert not below.matches("badexample", 443)
    assert not below.matches("a.example", 8443)


def test_a_group_alone_knows_nothing_of_the_others() -> None:
    assert JobSettings.from_env({"JOBS_QUEUE_NAME": "agent-lanes", "FOUNDRY_TIMOUT": "1"})
