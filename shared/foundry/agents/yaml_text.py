"""YAML as people write agents in it, by way of PyYAML, which the app itself never needs."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError, InvalidRequestError

try:
    import yaml
except ImportError as error:
    raise ConfigurationError(
        "Agent files are YAML, and PyYAML is not installed: run 'pip install pyyaml'."
    ) from error


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def load_yaml(text: str, source: str) -> Any:
    """Read one document; ``source`` names it in errors.

    Raises:
        InvalidRequestError: with the line that is wrong.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InvalidRequestError(f"{source} is not YAML: {reason}") from None


def dump_yaml(value: Any) -> str:
    """Write a document in a form that is pleasant to read and to compare."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
