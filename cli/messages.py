"""Makes the bodies of messages and jobs from options and files."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from .api import JsonObject
from .errors import UsageError

MAX_INPUT_BYTES = 4 * 2**20
"""The app takes no larger body."""

_IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}

Pairs = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="NAME=VALUE", help="A pair of metadata; repeatable."),
]


@dataclass(frozen=True)
class MessageOptions:
    """The options of commands that send a message."""

    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="The model to ask.")
    ] = None
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instructions, for a model without an agent.")
    ] = None
    tools: Annotated[
        list[str] | None,
        typer.Option("--tool", metavar="NAME", help="A tool that may be used; repeatable."),
    ] = None
    images: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="FILE", help="An image, a file or https URL; repeatable."),
    ] = None
    schema: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A JSON schema that the answer must follow."),
    ] = None
    domain: Annotated[
        str | None, typer.Option(metavar="NAME", help="The subject, a label for usage and routing.")
    ] = None
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Get the answer of what was sent with this key."),
    ] = None

    def body(self) -> JsonObject:
        """The members of a body that they give.

        Raises:
            UsageError: A file is not what it should be.
        """
        body = {
            "model": self.model,
            "system_prompt": self.system,
            "tools": self.tools or None,
            "images": [_image(each) for each in self.images] if self.images else None,
            "response_format": _schema(self.schema) if self.schema else None,
            "domain": self.domain,
        }
        return {name: value for name, value in body.items() if value is not None}


def pairs(texts: list[str] | None) -> dict[str, str]:
    """Pairs of metadata.

    Raises:
        UsageError: One has no `=`.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise UsageError("metadata is NAME=VALUE", advice="Such as --metadata team=finance")
        found[name] = value
    return found


def given_message(message: str | None) -> str | None:
    """The message of the arguments and of a pipe or file on standard input; None without either.

    A message in the arguments comes first, then an empty line.
    """
    piped = _piped()
    texts = [text for text in (message, piped) if text]
    return "\n\n".join(texts) if texts or piped is not None else None


def read_file(path: Path) -> bytes:
    """A small file.

    Raises:
        UsageError: It cannot be read, or is larger than any body.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_INPUT_BYTES:
        raise UsageError(f"{path} is larger than {MAX_INPUT_BYTES:,} bytes")
    return content


def _piped() -> str | None:
    """What a pipe or file on standard input has; None for a terminal or device."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # there is no standard input
        return None
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)):
        return None
    content = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    if len(content) > MAX_INPUT_BYTES:
        raise UsageError(f"the input is larger than {MAX_INPUT_BYTES:,} bytes")
    return content.decode("utf-8", "replace").strip()


def _image(text: str) -> str:
    if text.startswith(("https://", "data:")):
        return text
    path = Path(text)
    media_type = _IMAGES.get(path.suffix.lower())
    if media_type is None:
        raise UsageError(f"{path} is not an image: PNG, JPEG or WEBP, or an https URL")
    return f"data:{media_type};base64,{base64.b64encode(read_file(path)).decode()}"


def _schema(path: Path) -> dict[str, Any]:
    try:
        document: object = json.loads(read_file(path))
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UsageError(f"{path} is not a JSON object")
    return cast(dict[str, Any], document)
