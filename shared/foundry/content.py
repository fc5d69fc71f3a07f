"""Images and files in a message, checked before they are sent.

What the service would refuse minutes into a turn is refused here at once. Types are recognised by
the bytes, never by a name or a declared media type.
https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

from .errors import InvalidRequestError
from .wire_json import JsonObject

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""Azure OpenAI refuses more ("cannot exceed 20971520 bytes")."""

MAX_INLINE_FILE_BYTES = 50 * 1024 * 1024
"""The most that one request may carry in files. Larger ones, up to 512 MB, are uploaded with
purpose `assistants` and named by `file_id`."""

MAX_TEXT_CHARACTERS = 1_500_000
"""Text per message that the Agent Service takes."""

ImageDetail = Literal["auto", "low", "high", "original"]
"""How closely the model looks; more detail costs more tokens."""

_PDF = b"%PDF-"

IMAGE = "input_image"
"""Type of a part of a message that is an image."""


def image_part(source: str | bytes, detail: ImageDetail = "auto") -> JsonObject:
    """An image for a message: an https URL, a data URL, or the bytes of a PNG, JPEG or WEBP.

    Raises:
        InvalidRequestError: `invalid_content`, if it is of another type, too large or unreadable.
    """
    if isinstance(source, bytes):
        url = _image_url(source)
    elif source[:5].lower() == "data:":
        url = _image_url(_data_in(source))
    else:
        url = _checked_https(source, "An image")
    return {"type": IMAGE, "image_url": url, "detail": detail}


def file_part(
    *,
    file_id: str | None = None,
    file_url: str | None = None,
    data: bytes | None = None,
    filename: str | None = None,
) -> JsonObject:
    """A file for a message: uploaded before, at an https URL, or ``data`` with a ``filename``.

    Raises:
        InvalidRequestError: `invalid_content`, if it is not exactly one of these, empty, too
            large, or no PDF despite its name.
    """
    if sum(source is not None for source in (file_id, file_url, data)) != 1:
        raise _invalid("A file is given by exactly one of file_id, file_url and data.")
    if data is not None:
        return {"type": "input_file", **_inline_file(data, filename)}
    if file_url is not None:
        return {"type": "input_file", "file_url": _checked_https(file_url, "A file")}
    if not file_id:
        raise _invalid("file_id must not be empty.")
    return {"type": "input_file", "file_id": file_id}


def user_message(text: str, parts: Sequence[JsonObject] = ()) -> JsonObject:
    """The input item of a user message, with its images and files.

    Raises:
        InvalidRequestError: `invalid_content`, if the text is too long.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise _invalid(f"A message has at most {MAX_TEXT_CHARACTERS} characters.")
    content: str | list[JsonObject] = text
    if parts:
        content = [*([{"type": "input_text", "text": text}] if text else ()), *parts]
    return {"type": "message", "role": "user", "content": content}


def _image_url(data: bytes) -> str:
    media_type = _image_type(data)
    if media_type is None:
        raise _invalid("An image must be a PNG, JPEG or WEBP; these bytes are none of them.")
    if len(data) > MAX_IMAGE_BYTES:
        raise _invalid(f"An image has at most {_megabytes(MAX_IMAGE_BYTES)}.")
    return _data_url(media_type, data)


def _image_type(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def _inline_file(data: bytes, filename: str | None) -> JsonObject:
    if not filename:
        raise _invalid("A file given by its data needs a filename.")
    if not data:
        raise _invalid(f"The file {filename} is empty.")
    if len(data) > MAX_INLINE_FILE_BYTES:
        raise _invalid(
            f"A file in a message has at most {_megabytes(MAX_INLINE_FILE_BYTES)}: upload it with "
            "purpose 'assistants' and give its file_id."
        )
    named = mimetypes.guess_type(filename)[0]
    is_pdf = data.startswith(_PDF)
    if named == "application/pdf" and not is_pdf:
        raise _invalid(f"The file {filename} is no PDF despite its name.")
    media_type = "application/pdf" if is_pdf else named or "application/octet-stream"
    return {"filename": filename, "file_data": _data_url(media_type, data)}


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _data_in(url: str) -> bytes:
    """The bytes of a data URL, whose size is checked before they are decoded."""
    header, _, payload = url.partition(",")
    if not header.lower().endswith(";base64"):
        raise _invalid("A data URL must hold base64: data:<type>;base64,<data>.")
    payload = "".join(payload.split())  # some tools wrap lines
    if len(payload) > MAX_IMAGE_BYTES * 4 // 3 + 4:
        raise _invalid(f"An image has at most {_megabytes(MAX_IMAGE_BYTES)}.")
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):  # the latter for letters that are not ASCII
        raise _invalid("The base64 of a data URL is broken.") from None


def _checked_https(url: str, what: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or parts.scheme != "https" or not parts.hostname:
        raise _invalid(f"{what} is given by an https:// URL or by its data.")
    return url


def _megabytes(size: int) -> str:
    return f"{size // (1024 * 1024)} MB"


def _invalid(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, code="invalid_content")
