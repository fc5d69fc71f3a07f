"""Images and files are checked before they are sent."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from shared.foundry.content import (
    MAX_IMAGE_BYTES,
    MAX_INLINE_FILE_BYTES,
    MAX_TEXT_CHARACTERS,
    file_part,
    image_part,
    user_message,
)
from shared.foundry.errors import InvalidRequestError

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 20
WEBP = b"RIFF\x10\0\0\0WEBPVP8 " + b"\0" * 20
PDF = b"%PDF-1.7\n%%EOF"


def data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("data", "media_type"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (WEBP, "image/webp")]
)
def test_the_bytes_say_what_an_image_is(data: bytes, media_type: str) -> None:
    wanted = {"type": "input_image", "image_url": data_url(media_type, data), "detail": "auto"}
    assert image_part(data) == wanted
    assert image_part(data_url("image/gif", data)) == wanted


def test_an_image_on_the_web_is_passed_on() -> None:
    url = "https://example.com/a.gif?x=1"
    assert image_part(url, "low") == {"type": "input_image", "image_url": url, "detail": "low"}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"GIF89a", "PNG, JPEG or WEBP"),
        (b"", "PNG, JPEG or WEBP"),
        (PNG + b"\0" * MAX_IMAGE_BYTES, "at most 20 MB"),
        ("data:image/png;base64," + "A" * (MAX_IMAGE_BYTES * 2), "at most 20 MB"),
        ("http://example.com/a.png", "https://"),
        ("file:///etc/passwd", "https://"),
        ("https://", "https://"),
        ("https://[", "https://"),
        ("a.png", "https://"),
        ("data:image/png,abc", "must hold base64"),
        ("data:image/png;base64,@@@@", "base64 of a data URL is broken"),
        (data_url("image/png", b"GIF89a"), "PNG, JPEG or WEBP"),
    ],
    ids=lambda value: "" if len(value) > 40 else repr(value),
)
def test_an_image_that_cannot_be_sent_says_why(source: str | bytes, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason) as caught:
        image_part(source)
    assert caught.value.code == "invalid_content"


def test_files_by_id_url_and_data() -> None:
    assert file_part(file_id="file-1") == {"type": "input_file", "file_id": "file-1"}
    url = "https://example.com/a.pdf"
    assert file_part(file_url=url) == {"type": "input_file", "file_url": url}
    assert file_part(data=PDF, filename="report") == {
        "type": "input_file",
        "filename": "report",
        "file_data": data_url("application/pdf", PDF),
    }
    assert file_part(data=b"a,b", filename="a.csv")["file_data"] == data_url("text/csv", b"a,b")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "exactly one"),
        ({"file_id": "f", "file_url": "https://example.com"}, "exactly one"),
        ({"file_id": ""}, "must not be empty"),
        ({"file_url": "http://example.com/a.pdf"}, "https://"),
        ({"data": PDF}, "needs a filename"),
        ({"data": b"", "filename": "a.pdf"}, "is empty"),
        ({"data": b"hello", "filename": "a.pdf"}, "no PDF despite its name"),
        ({"data": bytes(MAX_INLINE_FILE_BYTES + 1), "filename": "a"}, "purpose 'assistants'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_sent_says_why(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        file_part(**given)


def test_a_message_is_text_or_text_with_parts() -> None:
    assert user_message("hi") == {"type": "message", "role": "user", "content": "hi"}
    part = image_part(PNG)
    assert user_message("what is it?", [part])["content"] == [
        {"type": "input_text", "text": "what is it?"},
        part,
    ]


def test_a_message_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="1500000 characters"):
        user_message("x" * (MAX_TEXT_CHARACTERS + 1))
