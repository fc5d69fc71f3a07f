"""The settings of the host, from `local.settings.json`, `host.json` and the environment."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import cast

JsonObject = dict[str, object]

# Overrides of host.json by app settings: AzureFunctionsJobHost__extensions__queues__batchSize=1
OVERRIDE_PREFIX = "AzureFunctionsJobHost__"

_TIME_SPAN = re.compile(r"(?:(\d{1,8})\.)?(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d{1,9})?))?")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/|\s+|[\s\S]')
"""A string, a comment, white space, or any one character of JSON."""

_SECTIONS = ("IsEncrypted", "Values", "Host", "ConnectionStrings")
"""https://learn.microsoft.com/azure/azure-functions/functions-develop-local#local-settings-file"""

_SETTING = re.compile(r"%([^%]+)%")


class HostConfigurationError(Exception):
    """The app or its settings cannot be served; the message says what to change."""


@dataclass(frozen=True)
class QueueSettings:
    """`extensions.queues` of host.json; the defaults are the host's own."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout: timedelta = timedelta()
    max_polling_interval: timedelta = timedelta(minutes=1)
    base64_messages: bool = True


@dataclass(frozen=True)
class HostSettings:
    """The part of host.json that this host supports."""

    route_prefix: str = "api"
    function_timeout: timedelta | None = timedelta(minutes=30)
    log_level: str = "Information"
    queues: QueueSettings = field(default_factory=QueueSettings)


@dataclass(frozen=True)
class LocalSettings:
    """The `Host` and `Values` sections of local.settings.json."""

    values: Mapping[str, str] = field(default_factory=dict[str, str])
    http_port: int | None = None
    cors_origins: tuple[str, ...] = ()
    cors_credentials: bool = False
    function_key: str | None = None
    """`Host.FunctionKey`: if set, functions of level FUNCTION require it."""
    master_key: str | None = None
    """`Host.MasterKey`: sufficient for every function; functions of level ADMIN require it."""


def read_local_settings(path: Path) -> LocalSettings:
    """Read local.settings.json; without the file there are no settings."""
    if not path.exists():
        return LocalSettings()
    document = _with_known_sections(_read_json(path), path.name)
    if document.get("IsEncrypted"):
        raise HostConfigurationError(
            f"{path.name} is encrypted; run `func settings decrypt` or set IsEncrypted to false."
        )
    host = _section(document, "Host", path.name)
    origins = str(host.get("CORS") or "")
    port = host.get("LocalHttpPort")
    return LocalSettings(
        values=_setting_values(document, path.name),
        http_port=None if port is None else _whole_number(port, f"{path.name}: LocalHttpPort"),
        cors_origins=tuple(origin.strip() for origin in origins.split(",") if origin.strip()),
        cors_credentials=bool(host.get("CORSCredentials", False)),
        function_key=_text_or_none(host.get("FunctionKey")),
        master_key=_text_or_none(host.get("MasterKey")),
    )


def read_host_settings(path: Path, environment: Mapping[str, str]) -> HostSettings:
    """Read host.json, overridden by `AzureFunctionsJobHost__...` in `environment`."""
    if not path.exists():
        raise HostConfigurationError(
            f"{path} does not exist: start the host in the folder of the function app."
        )
    document = _read_json(path)
    _apply_overrides(document, environment)
    extensions = _section(document, "extensions", path.name)
    log_levels = _section(_section(document, "logging", path.name), "logLevel", path.name)
    timeout = document.get("functionTimeout", "00:30:00")
    return HostSettings(
        route_prefix=str(_section(extensions, "http", path.name).get("routePrefix", "api")),
        function_timeout=None if str(timeout) == "-1" else time_span(str(timeout)),
        log_level=str(log_levels.get("default", "Information")),
        queues=_queue_settings(_section(extensions, "queues", path.name)),
    )


def apply_to_environment(settings: LocalSettings) -> None:
    """Make `Values` environment variables; a variable that is already set wins."""
    for name, value in settings.values.items():
        os.environ.setdefault(name, value)


def substitute_settings(text: str, environment: Mapping[str, str]) -> str:
    """Replace each `%NAME%` in `text` by the setting of that name."""

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environment:
            raise HostConfigurationError(f"'%{name}%' is used by a trigger, but {name} is not set.")
        return environment[name]

    return _SETTING.sub(value_of, text)


def time_span(text: str) -> timedelta:
    """Parse a .NET TimeSpan, `[days.]hh:mm[:ss[.fraction]]`."""
    match = _TIME_SPAN.fullmatch(text.strip())
    if match is None:
        raise HostConfigurationError(f"'{text}' is not a time span; write it as hh:mm:ss.")
    days, hours, minutes, seconds = match.groups()
    return timedelta(
        days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=float(seconds or 0)
    )


def _queue_settings(section: JsonObject) -> QueueSettings:
    batch_size = _whole_number(section.get("batchSize", 16), "host.json: batchSize")
    if not 1 <= batch_size <= 32:
        raise HostConfigurationError("host.json: batchSize must be between 1 and 32.")
    threshold = section.get("newBatchThreshold", batch_size // 2)
    return QueueSettings(
        batch_size=batch_size,
        new_batch_threshold=_whole_number(threshold, "host.json: newBatchThreshold"),
        max_dequeue_count=max(
            1, _whole_number(section.get("maxDequeueCount", 5), "host.json: maxDequeueCount")
        ),
        visibility_timeout=time_span(str(section.get("visibilityTimeout", "00:00:00"))),
        max_polling_interval=time_span(str(section.get("maxPollingInterval", "00:01:00"))),
        base64_messages=str(section.get("messageEncoding", "base64")).lower() != "none",
    )


def _apply_overrides(document: JsonObject, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if not name.startswith(OVERRIDE_PREFIX):
            continue
        *parents, leaf = name.removeprefix(OVERRIDE_PREFIX).split("__")
        node = document
        for parent in parents:
            child = node.get(parent)
            if not isinstance(child, dict):
                child = node[parent] = {}
            node = cast("JsonObject", child)
        node[leaf] = value


def _read_json(path: Path) -> JsonObject:
    try:
        # Core Tools writes the file with a byte order mark on some systems.
        document: object = json.loads(plain_json(path.read_text("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        raise HostConfigurationError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise HostConfigurationError(f"{path} must hold a JSON object.")
    return cast("JsonObject", document)


def plain_json(text: str) -> str:
    """Remove comments and trailing commas from JSON, which Core Tools and the host allow."""
    kept: list[str] = []
    for token in _TOKEN.finditer(text):
        piece = token[0]
        if piece.startswith(("//", "/*")):
            kept.append(" ")
            continue
        if piece in "]}" and (comma := _last_comma(kept)) is not None:
            kept[comma] = " "
        kept.append(piece)
    return "".join(kept)


def _last_comma(pieces: list[str]) -> int | None:
    """Index of the last piece that is not white space, if it is a comma after a value."""
    there = (n for n in range(len(pieces) - 1, -1, -1) if not pieces[n].isspace())
    last, before = next(there, None), next(there, None)
    if last is None or before is None or pieces[last] != "," or pieces[before] in "{[,":
        return None
    return last


def _with_known_sections(document: JsonObject, file: str) -> JsonObject:
    """Spell the names of sections as documented; upper and lower case do not matter.

    Raises HostConfigurationError for a name that is nearly a section.
    """
    known = {name.lower(): name for name in _SECTIONS}
    for name in document:
        meant = get_close_matches(name.lower(), known, 1)
        if meant and meant[0] != name.lower():
            message = f"{file}: {name} is no section: did you mean {known[meant[0]]}?"
            raise HostConfigurationError(message)
    return {known.get(name.lower(), name): value for name, value in document.items()}


def _section(document: JsonObject, name: str, file: str) -> JsonObject:
    section = document.get(name, {})
    if not isinstance(section, dict):
        raise HostConfigurationError(f"{file}: {name} must be a JSON object.")
    return cast("JsonObject", section)


def _setting_values(document: JsonObject, file: str) -> dict[str, str]:
    values = _section(document, "Values", file)
    for name, value in values.items():
        if isinstance(value, dict | list) or value is None:
            raise HostConfigurationError(
                f"{file}: the value of {name} must be text: put it in quotes, and a JSON value as "
                "one string with its own quotes escaped."
            )
    return {name: _setting_text(value) for name, value in values.items()}


def _setting_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text_or_none(value: object) -> str | None:
    return str(value) if value else None


def _whole_number(value: object, name: str) -> int:
    text = str(value)
    if not text.isdecimal():
        raise HostConfigurationError(f"{name} must be a whole number.")
    return int(text)
