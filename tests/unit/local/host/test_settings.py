"""What the local host makes of host.json and local.settings.json."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from local.host.settings import (
    HostConfigurationError,
    QueueSettings,
    read_host_settings,
    read_local_settings,
    substitute_settings,
    time_span,
)
from local.services import ROOT


def host_json(folder: Path, **content: object) -> Path:
    path = folder / "host.json"
    path.write_text(json.dumps(content))
    return path


def test_an_empty_host_json_means_the_hosts_defaults(tmp_path: Path) -> None:
    settings = read_host_settings(host_json(tmp_path), {})
    assert (settings.route_prefix, settings.log_level) == ("api", "Information")
    assert settings.function_timeout == timedelta(minutes=30)
    assert settings.queues == QueueSettings()


def test_the_repositorys_host_json_spreads_the_attempts_of_a_failing_message() -> None:
    settings = read_host_settings(ROOT / "host.json", {})
    assert settings.queues == QueueSettings(
        batch_size=32,
        new_batch_threshold=96,
        visibility_timeout=timedelta(seconds=30),
        max_polling_interval=timedelta(seconds=0.5),
    )


def test_app_settings_override_host_json(tmp_path: Path) -> None:
    path = host_json(tmp_path, extensions={"queues": {"batchSize": 8}}, functionTimeout="-1")
    environment = {
        "AzureFunctionsJobHost__extensions__queues__batchSize": "1",
        "AzureFunctionsJobHost__extensions__queues__newBatchThreshold": "0",
        "AzureFunctionsJobHost__logging__logLevel__default": "Warning",
    }
    settings = read_host_settings(path, environment)
    assert (settings.queues.batch_size, settings.queues.new_batch_threshold) == (1, 0)
    assert (settings.log_level, settings.function_timeout) == ("Warning", None)


@pytest.mark.parametrize(
    ("queues", "named"),
    [
        ({"batchSize": 33}, "batchSize"),
        ({"maxDequeueCount": "many"}, "maxDequeueCount"),
        ({"visibilityTimeout": "30"}, "'30' is not a time span"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, queues: dict[str, object], named: str) -> None:
    path = host_json(tmp_path, extensions={"queues": queues})
    with pytest.raises(HostConfigurationError, match=named):
        read_host_settings(path, {})


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("00:00:30", timedelta(seconds=30)),
        ("1.02:03:04", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("00:00:00.25", timedelta(milliseconds=250)),
        ("01:30", timedelta(hours=1, minutes=30)),
    ],
)
def test_time_spans(text: str, span: timedelta) -> None:
    assert time_span(text) == span


def test_local_settings_hold_values_and_host_options(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    host = {"LocalHttpPort": 7080, "CORS": "https://a.example, https://b.example"}
    path.write_text("\ufeff" + json.dumps({"Host": host, "Values": {"A": "1", "B": True}}))
    settings = read_local_settings(path)
    assert settings.values == {"A": "1", "B": "true"}
    assert settings.http_port == 7080
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert read_local_settings(tmp_path / "none.json").values == {}


def test_comments_commas_at_an_end_and_a_byte_order_mark_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text(
        """\ufeff// the developer's own
        {
          "IsEncrypted": false, /* not,} "here" **/
          "Values": {
            "A": "http://host/*x*/, // no comment", // a comment
            "B": "a \\" quote, }", /**/
            "C": ",]",
          },
          "Host": {"LocalHttpPort": 7080, "CORS": "*", /* , */ },
        } // the end"""
    )
    settings = read_local_settings(path)
    assert settings.values == {
        "A": "http://host/*x*/, // no comment",
        "B": 'a " quote, }',
        "C": ",]",
    }
    assert settings.http_port == 7080


@pytest.mark.parametrize(
    "text", ['{"Values": {,}}', '{"Values": {"A": "1",,}}', "{,}", '{"A": 1 /* }', "[1,]", '"a']
)
def test_what_is_still_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text(text)
    with pytest.raises(HostConfigurationError, match=r"local\.settings\.json"):
        read_local_settings(path)


@pytest.mark.parametrize("name", ["Value", "value", "VALUESS", "Vlaues", "Valeus"])
def test_a_misspelt_section_is_named_with_the_nearest(tmp_path: Path, name: str) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text(json.dumps({name: {"A": "1"}}))
    with pytest.raises(HostConfigurationError, match=f"{name} is no section: did you mean Values"):
        read_local_settings(path)


@pytest.mark.parametrize("name", ["values", "VALUES"])
def test_letter_case_of_sections_does_not_count(tmp_path: Path, name: str) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text(json.dumps({name: {"A": "1"}, "$schema": "x"}))
    assert read_local_settings(path).values == {"A": "1"}


@pytest.mark.parametrize("value", [None, {"a": 1}, ["a"]])
def test_a_value_that_is_no_text_is_named(tmp_path: Path, value: object) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text(json.dumps({"Values": {"PRICES": value}}))
    with pytest.raises(HostConfigurationError, match="the value of PRICES must be text"):
        read_local_settings(path)


def test_a_long_text_is_read_in_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text('{"Values": {"A": "' + "*/" * 200_000 + '"' + "," + " " * 200_000 + "}}")
    assert len(read_local_settings(path).values["A"]) == 400_000


def test_a_broken_settings_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text("{")
    with pytest.raises(HostConfigurationError, match=r"local\.settings\.json is not valid JSON"):
        read_local_settings(path)


def test_settings_are_substituted_in_trigger_names() -> None:
    assert substitute_settings("%A%-jobs", {"A": "prod"}) == "prod-jobs"
    with pytest.raises(HostConfigurationError, match="B is not set"):
        substitute_settings("%B%", {})
