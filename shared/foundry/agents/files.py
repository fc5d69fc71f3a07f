"""Agent files: the definition of an agent as YAML, to review and version with the code.

name: support
model: llama-3.3-70b
instructions: Answer in one sentence.
tools:
  - data_analysis                 # a tool by name
  - my_tools:order_status         # a custom tool, as module:function
  - type: mcp                     # any tool of the catalogue
    server_label: docs
    server_url: https://example.com/mcp
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ...config import FoundryAgentServiceConfig
from ..errors import ConfigurationError, InvalidRequestError
from ..tools.catalogue import parse_tool, parse_tool_choice
from ..tools.custom import CustomTool, tool
from ..tools.names import named_tool
from ..wire_json import JsonObject, explain, object_at

try:
    import yaml
except ImportError as error:
    raise ConfigurationError(
        "Agent files are YAML, and PyYAML is not installed: run 'pip install pyyaml'."
    ) from error

MAX_TOOLS = 128
"""The most tools of one agent."""

_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")]
_Key = Annotated[str, StringConstraints(max_length=64)]
_Value = Annotated[str, StringConstraints(max_length=512)]

_OF_THE_VERSION = {"name", "description", "metadata"}
"""Fields of the file that belong to the version, not to its definition."""

_DEFAULTS: JsonObject = {
    "temperature": 1,
    "top_p": 1,
    "tool_choice": "auto",
    "text": {"format": {"type": "text"}},
}
"""Defaults that the service may add where a definition does not have the field."""

_NOTHING: tuple[object, ...] = (None, "", [], {})


class AgentFile(BaseModel):
    """The contents of the file; everything but `name` and `model` is optional."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    name: _Name
    """1 to 63 letters, digits or hyphens."""
    description: Annotated[str, StringConstraints(max_length=512)] | None = None
    model: Annotated[str, StringConstraints(min_length=1)]
    """The model deployment."""
    instructions: str | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    tools: list[str | JsonObject] = Field(default_factory=list[str | JsonObject])
    """Names, `module:function` references, or tool objects."""
    tool_choice: str | JsonObject | None = None
    """`none`, `auto`, `required`, or the tool to use."""
    text: JsonObject | None = None
    """`format` of the answer, such as a JSON schema."""
    reasoning: JsonObject | None = None
    structured_inputs: JsonObject | None = None
    """Placeholders in the instructions, which each request fills in."""
    rai_config: JsonObject | None = None
    """The content filter, by `rai_policy_name`."""
    metadata: dict[_Key, _Value] | None = Field(default=None, max_length=16)

    @classmethod
    def read(cls, path: Path) -> AgentFile:
        """Read and check a file.

        Raises:
            InvalidRequestError: naming the file and every wrong field.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequestError(f"{path} cannot be read: {error}") from error
        document = load_yaml(text, str(path))
        if not isinstance(document, dict):
            raise InvalidRequestError(f"{path} must hold an agent: name, model, instructions, ...")
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise InvalidRequestError(f"{path}: {explain(error)}") from None

    def version(self, config: FoundryAgentServiceConfig) -> JsonObject:
        """The request body that creates a version; ``config`` has the settings of named tools.

        Raises:
            InvalidRequestError: for an unknown tool or tool choice, or a custom tool that cannot be
                imported.
            ConfigurationError: naming the setting that a tool needs.
        """
        definition = self.model_dump(exclude_none=True, exclude={*_OF_THE_VERSION, "tools"})
        tools = [_definition(wanted, config) for wanted in self.tools]
        if len(tools) > MAX_TOOLS:
            raise InvalidRequestError(f"An agent has at most {MAX_TOOLS} tools, not {len(tools)}.")
        body: JsonObject = {"definition": {"kind": "prompt", **definition}}
        if self.tool_choice is not None:
            body["definition"]["tool_choice"] = parse_tool_choice(self.tool_choice)
        if tools:
            body["definition"]["tools"] = [t for n, t in enumerate(tools) if t not in tools[:n]]
        return body | self.model_dump(exclude_none=True, include=_OF_THE_VERSION - {"name"})


def as_file(version: JsonObject) -> str:
    """The agent file that would create a version, as text."""
    said: JsonObject = {
        "name": version.get("name"),
        "description": version.get("description"),
        **object_at(version, "definition"),
        "metadata": version.get("metadata"),
    }
    said.pop("kind", None)
    return dump_yaml({key: value for key, value in said.items() if value not in _NOTHING})


def _definition(wanted: str | JsonObject, config: FoundryAgentServiceConfig) -> JsonObject:
    if not isinstance(wanted, str):
        return parse_tool(wanted)
    if ":" in wanted:
        return _custom_tool(wanted).definition()
    return named_tool(wanted, config)


def _custom_tool(reference: str) -> CustomTool[..., Any]:
    """Import the tool ``module:function``, a `CustomTool` or a plain function."""
    module, _, name = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
        if inspect.isroutine(found):
            return tool(found)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidRequestError(f"The tool '{reference}' cannot be imported: {error}.") from error
    if not isinstance(found, CustomTool):
        raise InvalidRequestError(f"The tool '{reference}' is not a function.")
    return cast("CustomTool[..., Any]", found)


def difference(current: JsonObject | None, wanted: JsonObject) -> str:
    """A unified diff between two versions; empty if they are equivalent.

    Nulls, empty lists and objects, and the service's defaults are treated as absent.
    """
    before = [] if current is None else _lines(current)
    after = _lines(wanted)
    old = "nothing" if current is None else f"version {current.get('version')}"
    return "\n".join(difflib.unified_diff(before, after, old, "file", lineterm=""))


def _lines(version: JsonObject) -> list[str]:
    said = {key: version.get(key) for key in ("description", "metadata", "definition")}
    definition = cast("JsonObject", said["definition"] or {})
    said["definition"] = {
        key: value for key, value in definition.items() if _DEFAULTS.get(key) != value
    }
    return dump_yaml(_said(said)).splitlines()


def _said(value: Any) -> Any:
    """A copy of a value with sorted keys and without empty members."""
    if isinstance(value, dict):
        members = {key: _said(member) for key, member in cast("JsonObject", value).items()}
        return {key: members[key] for key in sorted(members) if members[key] not in (None, {}, [])}
    if isinstance(value, list):
        return [_said(member) for member in cast("list[Any]", value)]
    return value


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def load_yaml(text: str, source: str) -> Any:
    """Parse one YAML document; errors name it by ``source``.

    Raises:
        InvalidRequestError: naming the line of the error.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InvalidRequestError(f"{source} is not YAML: {reason}") from None


def dump_yaml(value: Any) -> str:
    """Write a YAML document in a form that is easy to read and to diff."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
