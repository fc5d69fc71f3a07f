"""What a Python caller asks for, by name, as a `TurnRequest`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .content import image_part
from .models import TurnRequest
from .structured import response_format

OPTIONS = (
    "system_prompt",
    "tools",
    "model",
    "temperature",
    "max_tokens",
    "top_p",
    "metadata",
    "images",
    "files",
    "response_format",
    "background",
)


def turn_request(message: str, domain: str, options: Mapping[str, Any]) -> TurnRequest:
    """The turn that asks ``message`` with `OPTIONS`, all of them optional.

    Raises:
        TypeError: for an unknown option.
        InvalidRequestError: for an image or response format that cannot be used.
    """
    if unknown := options.keys() - set(OPTIONS):
        raise TypeError(
            f"unknown option {', '.join(sorted(unknown))}; known are {', '.join(OPTIONS)}"
        )
    given = dict(options)
    images = [image_part(image) for image in given.pop("images", None) or ()]
    wanted = given.pop("response_format", None)
    return TurnRequest(
        message,
        domain,
        tools=tuple(given.pop("tools", None) or ()),
        parts=(*images, *(given.pop("files", None) or ())),
        response_format=response_format(wanted) if wanted is not None else None,
        **given,
    )
