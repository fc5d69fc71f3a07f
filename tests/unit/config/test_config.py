"""Settings: defaults, where they come from, and how wrong ones are reported."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import (
    HTTP_DEADLINE_SECONDS,
    AccessSettings,
    AppSettings,
    CallbackSettings,
    ConsoleSettings,
    FoundryAgentServiceConfig,
    IdentitySettings,
    JobSettings,
    LimitSettings,
    MLConfig,
    ModelSettings,
    RetentionSettings,
    Settings,
    SettingsError,
    SpendingSettings,
    StorageSettings,
    TelemetrySettings,
)
from tests.support.docstrings import field_docstrings

GROUPS: list[type[Settings]] = [
    FoundryAgentServiceConfig,
    IdentitySettings,
    AccessSettings,
    StorageSettings,
    JobSettings,
    CallbackSettings,
    LimitSettings,
    RetentionSettings,
    ModelSettings,
    SpendingSettings,
    ConsoleSettings,
    TelemetrySettings,
    MLConfig,
]
SECRET = "s3cr3t-value"
WITHOUT_VARIABLE = {"enable_foundry_agent_service"}


def fields() -> Iterator[tuple[type[Settings], str]]:
    for group in [*GROUPS, AppSettings]:
        for name in group.model_fields:
            yield group, name


def refusal(group: type[Settings], environ: dict[str, str]) -> SettingsError | None:
    try:
        group.from_env(environ)
    except SettingsError as error:
        return error
    return None


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    config = FoundryAgentServiceConfig.from_env({})
    assert config.model_dump() == {
        "endpoint_url": "",
        "api_key": "",
        "agent_id": "",
        "model": "llama-3.3-70b",
        "enable_stateful_threads": True,
        "enable_entra_agent_id": True,
        "enable_foundry_tools": True,
        "callers_approve": True,
        "timeout": 60,
        "max_retries": 3,
        "max_concurrency": 0,
        "temperature": 0.7,
        "max_tokens": 4096,
        "max_tokens_limit": 0,
        "allowed_models": "",
        "top_p": 0.9,
        "pool_size": 2000,
        "vector_store_ids": "",
        "search_connection_id": "",
        "search_index": "",
        "tool_timeout": 30,
        "log_content": False,
    }
    assert AppSettings.from_env({}) == AppSettings()


def test_every_variable_reaches_its_field() -> None:
    app = AppSettings.from_env(
        {
            "FOUNDRY_AGENT_SERVICE_ENDPOINT": " https://a.example/openai/v1 ",
            "FOUNDRY_AGENT_SERVICE_API_KEY": SECRET,
            "FOUNDRY_AGENT_ID": "helper:2",
            "FOUNDRY_MODEL": "m",
            "FOUNDRY_ENABLE_STATEFUL_THREADS": "false",
            "FOUNDRY_ENABLE_ENTRA_AGENT_ID": "False",
            "FOUNDRY_ENABLE_FOUNDRY_TOOLS": "0",
            "FOUNDRY_TIMEOUT": "30.5",
            "FOUNDRY_MAX_RETRIES": "0",
            "FOUNDRY_TEMPERATURE": "0",
            "FOUNDRY_MAX_TOKENS": "10",
            "FOUNDRY_TOP_P": "1",
            "AZURE_CLIENT_ID": "client",
            "AzureWebJobsStorage": "UseDevelopmentStorage=true",
            "JOBS_QUEUE_NAME": "my-jobs",
            "RECORD_CONTENT": "off",
        }
    )
    foundry = app.foundry
    assert foundry.endpoint_url == "https://a.example/openai/v1"
    assert (foundry.api_key, foundry.agent_id, foundry.model) == (SECRET, "helper:2", "m")
    assert not foundry.enable_stateful_threads
    assert not foundry.enable_entra_agent_id
    assert not foundry.enable_foundry_tools
    assert (foundry.timeout, foundry.max_retries, foundry.max_tokens) == (30.5, 0, 10)
    assert (foundry.temperature, foundry.top_p) == (0, 1)
    assert app.identity.client_id == "client"
    assert app.storage.connection_string == "UseDevelopmentStorage=true"
    assert not app.storage.record_content
    assert app.jobs.intake_queue == "my-jobs"


def test_a_blank_variable_counts_as_unset() -> None:
    config = FoundryAgentServiceConfig.from_env({"FOUNDRY_MODEL": "  ", "FOUNDRY_TIMEOUT": ""})
    assert (config.model, config.timeout) == ("llama-3.3-70b", 60)


def test_all_problems_are_reported_together_each_with_name_and_kind() -> None:
    with pytest.raises(SettingsError) as caught:
        AppSettings.from_env(
            {
                "FOUNDRY_TIMEOUT": "soon",
                "FOUNDRY_TEMPERATURE": "1.1",
                "FOUNDRY_MAX_RETRIES": "2.5",
                "FOUNDRY_ENABLE_FOUNDRY_TOOLS": "maybe",
                "STATE_TABLE_NAME": "9",
                "LANES_QUEUE_NAME": "Capital",
            }
        )
    text = str(caught.value)
    assert len(caught.value.problems) == 6
    assert "6 setting(s)" in text
    assert "FOUNDRY_TIMEOUT must be a number" in text
    assert "FOUNDRY_TIMEOUT=60" in text
    assert "FOUNDRY_TEMPERATURE must be a number" in text
    assert "FOUNDRY_MAX_RETRIES must be a whole number" in text
    assert "FOUNDRY_ENABLE_FOUNDRY_TOOLS must be true or false" in text
    assert "STATE_TABLE_NAME cannot be used: a table's name is 3 to 63" in text
    assert "LANES_QUEUE_NAME cannot be used: a queue's name is 3 to 63" in text


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "1741"])
def test_a_timeout_out_of_range_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="FOUNDRY_TIMEOUT"):
        FoundryAgentServiceConfig.from_env({"FOUNDRY_TIMEOUT": value})


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group, name in fields() if name in group.variables()]
)
def test_no_wrong_value_is_ever_repeated(group: type[Settings], name: str) -> None:
    error = refusal(group, {group.variables()[name].name: SECRET})
    assert SECRET not in f"{error} {error!r}"


def test_secrets_are_not_shown() -> None:
    app = AppSettings.from_env(
        {
            "FOUNDRY_AGENT_SERVICE_API_KEY": SECRET,
            "AzureWebJobsStorage": f"AccountName=a;AccountKey={SECRET}",
        }
    )
    ml = MLConfig.from_env({"FOUNDRY_AGENT_SERVICE_API_KEY": SECRET})
    for text in (repr(app), str(app), f"{app.foundry!r} {app.storage}", repr(ml), str(ml)):
        assert SECRET not in text


@pytest.mark.parametrize("group", [*GROUPS, AppSettings])
def test_every_field_is_documented(group: type[Settings]) -> None:
    documented = field_docstrings(group)
    for name in group.model_fields:
        assert documented[name].endswith("."), name


@pytest.mark.parametrize("group", GROUPS)
def test_every_field_can_be_set_from_the_environment(group: type[Settings]) -> None:
    without = set(group.model_fields) - set(group.variables()) - WITHOUT_VARIABLE
    assert not without
    names = [env.name for env in group.variables().values()]
    assert len(names) == len(set(names))


def test_every_group_belongs_to_the_app() -> None:
    groups = {field.annotation for field in AppSettings.model_fields.values()}
    assert groups == set(GROUPS) - {MLConfig}


def test_settings_are_frozen_and_know_their_fields() -> None:
    config = FoundryAgentServiceConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.model = "other"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="modle"):
        FoundryAgentServiceConfig.model_validate({"modle": "x"})


def test_a_turn_over_http_ends_before_azure_cuts_it() -> None:
    assert AppSettings.from_env({"FOUNDRY_TIMEOUT": "20"}).turn_seconds == 20
    assert AppSettings.from_env({"FOUNDRY_TIMEOUT": "1700"}).turn_seconds == HTTP_DEADLINE_SECONDS


def test_ml_settings_become_the_clients() -> None:
    environ = {
        "FOUNDRY_AGENT_SERVICE_ENDPOINT": "https://a.example/openai/v1",
        "FOUNDRY_AGENT_SERVICE_API_KEY": "k",
        "FOUNDRY_AGENT_ID": "helper",
        "FOUNDRY_MODEL": "m",
        "FOUNDRY_ENABLE_STATEFUL_THREADS": "false",
        "FOUNDRY_ENABLE_ENTRA_AGENT_ID": "false",
        "FOUNDRY_ENABLE_FOUNDRY_TOOLS": "false",
    }
    assert MLConfig.from_env(environ).foundry() == FoundryAgentServiceConfig.from_env(environ)


@given(
    st.dictionaries(
        st.sampled_from([e.name for g in GROUPS for e in g.variables().values()]),
        st.text(max_size=20),
    )
)
def test_any_environment_gives_settings_or_one_error(environ: dict[str, str]) -> None:
    error = refusal(AppSettings, environ)
    problems = error.problems if error else []
    assert all(problem.split()[0] in environ for problem in problems)
