"""`aos connect` and `aos mcp`: configures other clients for the app.

Keys are in no configuration: clients read them from the variable `AOS_KEY`, or ask for them.
"""

from __future__ import annotations

import json
import os
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer

from .api import JsonObject
from .commands import Session, command, new_app
from .errors import UsageError
from .target import Target, is_bearer

app = new_app("Print or write the configuration of an OpenAI client for this app.")
mcp = new_app("Add this app to a client of the Model Context Protocol.")

NAME = "aos"
MCP_NAME = "agents"
KEY_VARIABLE = "AOS_KEY"
FUNCTION_KEY = "x-functions-key"


class Client(StrEnum):
    """Clients of the OpenAI-compatible API."""

    CODEX = "codex"
    OPENCODE = "opencode"
    AIDER = "aider"
    OPENAI = "openai"


class McpClient(StrEnum):
    """Clients of the Model Context Protocol."""

    VSCODE = "vscode"
    CLAUDE = "claude"


@dataclass(frozen=True)
class Configuration:
    """What a client needs."""

    text: str
    """As it is printed."""
    then: str
    """What the user does next."""
    path: Path | None = None
    """The file that the client reads."""
    document: JsonObject | None = None
    """What is merged into that file, if it is JSON; else the text is appended."""


Write = Annotated[
    bool, typer.Option("--write", help="Write it to the client's file, beside what is there.")
]


@command(app, "connect")
def connect(
    session: Session,
    client: Annotated[Client, typer.Argument(help="The client to configure.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="By default the first one.")
    ] = None,
    write: Write = False,
) -> None:
    """Print or write the configuration of an OpenAI client for this app."""
    named = model or _first_model(session)
    _finish(session, _CLIENTS[client](session.target, named), write=write)


@mcp.callback()
def servers() -> None:
    """Add this app to a client of the Model Context Protocol."""


@command(mcp, "add")
def add(
    session: Session,
    client: Annotated[McpClient, typer.Argument(help="The client to configure.")],
    write: Write = False,
) -> None:
    """Print what adds this app to a client, or write it to the file in this folder."""
    _finish(session, _MCP_CLIENTS[client](session.target), write=write)


def _first_model(session: Session) -> str:
    models = cast(list[JsonObject], session.api.get("v1/models").get("data", []))
    if not models:
        raise UsageError("the app has no model", advice="See why: aos models")
    return str(models[0]["id"])


def _base_url(target: Target) -> str:
    return f"{target.url}/api/v1"


def _sends_function_key(target: Target) -> bool:
    return bool(target.key) and not is_bearer(target.key)


def _codex(target: Target, model: str) -> Configuration:
    provider = {"name": NAME, "base_url": _base_url(target), "wire_api": "responses"}
    lines = [f"[model_providers.{NAME}]", *(f"{n} = {json.dumps(v)}" for n, v in provider.items())]
    if _sends_function_key(target):
        lines.append(f'env_http_headers = {{ "{FUNCTION_KEY}" = "{KEY_VARIABLE}" }}')
    else:
        lines.append(f'env_key = "{KEY_VARIABLE}"')
    home = Path(os.environ.get("CODEX_HOME") or Path.home() / ".codex")
    then = f"codex -c model_provider={NAME} -c model={shlex.quote(model)}"
    return Configuration("\n".join(lines) + "\n", then, home / "config.toml")


def _opencode(target: Target, model: str) -> Configuration:
    reference = f"{{env:{KEY_VARIABLE}}}"
    options: JsonObject = {"baseURL": _base_url(target), "apiKey": reference}
    if _sends_function_key(target):
        options["headers"] = {FUNCTION_KEY: reference}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": options,
        "models": {model: {"name": model, "tool_call": True}},
    }
    document: JsonObject = {"provider": {NAME: provider}}
    then = f"opencode --model {shlex.quote(f'{NAME}/{model}')}"
    return Configuration(_json(document), then, Path("opencode.json"), document)


def _aider(target: Target, model: str) -> Configuration:
    text = _exports({"OPENAI_API_BASE": _base_url(target)})
    return Configuration(text, f"aider --model {shlex.quote(f'openai/{model}')}")


def _openai(target: Target, model: str) -> Configuration:
    text = _exports({"OPENAI_BASE_URL": _base_url(target)})
    return Configuration(text, f"ask the model {model}")


def _exports(values: dict[str, str]) -> str:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    return "\n".join([*lines, f'export OPENAI_API_KEY="${KEY_VARIABLE}"', ""])


def _vscode(target: Target) -> Configuration:
    server: JsonObject = {"type": "http", "url": _mcp_url(target)}
    document: JsonObject = {"servers": {MCP_NAME: server}}
    if not target.scope:  # with Entra, the editor signs in by itself
        server["headers"] = _headers(target, "${input:aos-key}")
        question = {"type": "promptString", "description": "Key of the app", "password": True}
        document["inputs"] = [{"id": "aos-key", **question}]
    then = f"start the server {MCP_NAME} in the editor"
    return Configuration(_json(document), then, Path(".vscode/mcp.json"), document)


def _claude(target: Target) -> Configuration:
    headers = _headers(target, f"${{{KEY_VARIABLE}}}")
    server = {"type": "http", "url": _mcp_url(target), "headers": headers}
    document: JsonObject = {"mcpServers": {MCP_NAME: server}}
    ((name, value),) = headers.items()
    add = f"claude mcp add --transport http {MCP_NAME} {shlex.quote(_mcp_url(target))}"
    text = f'{add} \\\n  --header "{name}: {value}"\n'
    return Configuration(text, "claude mcp list", Path(".mcp.json"), document)


def _headers(target: Target, value: str) -> JsonObject:
    if _sends_function_key(target):
        return {FUNCTION_KEY: value}
    return {"Authorization": f"Bearer {value}"}


def _mcp_url(target: Target) -> str:
    return f"{target.url}/api/mcp"


def _json(document: JsonObject) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _finish(session: Session, configuration: Configuration, *, write: bool) -> None:
    if not write:
        session.output.text(configuration.text, end="")
    elif configuration.path is None:
        raise UsageError("these are variables, and no file", advice="Leave --write out")
    else:
        _write(configuration.path, configuration)
        session.output.note(f"{configuration.path} is written")
    note = session.output.note
    if KEY_VARIABLE in (configuration.text + json.dumps(configuration.document)):
        note(f"The client reads the key from {KEY_VARIABLE}: set it where the client runs.")
    note(f"Then: {configuration.then}")


def _write(path: Path, configuration: Configuration) -> None:
    try:
        present = path.read_text(encoding="utf-8") if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_with(path, present, configuration), encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be written: {type(error).__name__}") from None


def _with(path: Path, present: str, configuration: Configuration) -> str:
    """The text of a file with the configuration in it."""
    advice = "Add it yourself; without --write, it is printed"
    try:
        if configuration.document is None:
            known: JsonObject = tomllib.loads(present)
            if NAME in cast(JsonObject, known.get("model_providers", {})):
                raise UsageError(f"{path} has a provider {NAME} already", advice=advice)
            return f"{present.rstrip()}\n\n{configuration.text}".lstrip()
        document: object = json.loads(present or "{}")
    except ValueError:  # such as JSON with comments
        raise UsageError(f"{path} cannot be changed without loss", advice=advice) from None
    if not isinstance(document, dict):
        raise UsageError(f"{path} is not a JSON object", advice=advice)
    return _json(_merged(cast(JsonObject, document), configuration.document))


def _merged(old: JsonObject, new: JsonObject) -> JsonObject:
    """Both documents; of a list of objects with ids, an object of the old one stays."""
    result = dict(old)
    for name, value in new.items():
        before = result.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            result[name] = _merged(cast(JsonObject, before), cast(JsonObject, value))
        elif isinstance(before, list) and isinstance(value, list):
            items = cast(list[JsonObject], before)
            known = {item.get("id") for item in items}
            added = [each for each in cast(list[JsonObject], value) if each["id"] not in known]
            result[name] = [*items, *added]
        else:
            result[name] = value
    return result


_CLIENTS: dict[Client, Callable[[Target, str], Configuration]] = {
    Client.CODEX: _codex,
    Client.OPENCODE: _opencode,
    Client.AIDER: _aider,
    Client.OPENAI: _openai,
}
_MCP_CLIENTS: dict[McpClient, Callable[[Target], Configuration]] = {
    McpClient.VSCODE: _vscode,
    McpClient.CLAUDE: _claude,
}
