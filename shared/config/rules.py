"""Rules for the values of settings: names that Azure Storage limits, and the items of lists."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from pydantic import AfterValidator

from .base import names_in
from .endpoint import split_url

POISON_SUFFIX = "-poison"
"""Suffix of the queue to which the Functions host moves messages that failed too often."""

_QUEUE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TABLE = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")
_QUEUE_LENGTHS = (3, 63)
_RESERVED_TABLE = "tables"


def queue_name(name: str) -> None:
    """Check the name of a queue.

    https://learn.microsoft.com/rest/api/storageservices/naming-queues-and-metadata

    Raises:
        ValueError: saying what a name must be.
    """
    shortest, longest = _QUEUE_LENGTHS
    if not _QUEUE.fullmatch(name) or not shortest <= len(name) <= longest:
        raise ValueError(
            f"a queue's name is {shortest} to {longest} lower-case letters, digits and single "
            "hyphens between them"
        )


def own_queue_name(name: str) -> None:
    """Check the name of a queue of the app, which has a poison queue beside it.

    Raises:
        ValueError: saying what a name must be.
    """
    queue_name(name)
    longest = _QUEUE_LENGTHS[1] - len(POISON_SUFFIX)
    if name.endswith(POISON_SUFFIX) or len(name) > longest:
        raise ValueError(
            f"it is at most {longest} characters, because <name>{POISON_SUFFIX} must be a queue as "
            f"well, and does not itself end in {POISON_SUFFIX}"
        )


def table_name(name: str) -> None:
    """Check the name of a table.

    https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model

    Raises:
        ValueError: saying what a name must be.
    """
    if not _TABLE.fullmatch(name) or name.lower() == _RESERVED_TABLE:
        raise ValueError(
            "a table's name is 3 to 63 letters and digits and begins with a letter; "
            f"'{_RESERVED_TABLE}' is taken"
        )


def storage_account(connection_string: str) -> None:
    """Check that a connection string names an account, or the emulator.

    https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string

    Raises:
        ValueError: if it does not.
    """
    parts = [part.partition("=") for part in connection_string.split(";") if part.strip()]
    names = {name.strip().lower() for name, equals, value in parts if equals and value}
    services = {"tableendpoint", "queueendpoint"}
    if not (names & {"accountname", "usedevelopmentstorage"} or services <= names):
        raise ValueError("it is no connection string of a storage account")


def secure_url(url: str) -> None:
    """Check a URL to which credentials are sent.

    Raises:
        ValueError: saying why it cannot be used.
    """
    if url:
        split_url(url)


def web_origin(text: str) -> None:
    """Check the origin of a web page, as browsers write it.

    Raises:
        ValueError: saying what an origin is.
    """
    parts = urlsplit(text)
    if not (parts.scheme and parts.netloc) or text != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("an origin is a scheme and a host, like https://chat.contoso.com")


def one_word(name: str) -> None:
    """Check that a name holds no white space.

    Raises:
        ValueError: if it does.
    """
    if len(name.split()) != 1 or not name.isprintable():
        raise ValueError("it holds white space; commas separate the entries")


def rule(check: Callable[[str], object]) -> AfterValidator:
    """Require that ``check`` raises no ValueError for a value."""

    def checked(text: str) -> str:
        check(text)
        return text

    return AfterValidator(checked)


def each(check: Callable[[str], object]) -> AfterValidator:
    """Require that ``check`` raises no ValueError for any entry of a list."""

    def checked(text: str) -> str:
        for position, name in enumerate(names_in(text), 1):
            try:
                check(name)
            except ValueError as error:
                raise ValueError(f"entry {position} cannot be used: {error}") from None
        return text

    return AfterValidator(checked)


def matching(pattern: str, form: str) -> Callable[[str], None]:
    """Return a check that a text matches ``pattern``; ``form`` describes the pattern in errors."""
    whole = re.compile(pattern)

    def check(text: str) -> None:
        if not whole.fullmatch(text):
            raise ValueError(f"it must be {form}")

    return check
