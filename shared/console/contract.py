"""Declarations of the routes of the console, which are no part of the API document."""

from __future__ import annotations

from ..http.operation import Operation, Tag

CONSOLE = Operation(id="getConsole", tag=Tag.SERVICE, summary="The console", is_published=False)

CONSOLE_FILE = Operation(
    id="getConsoleFile", tag=Tag.SERVICE, summary="A file of the console", is_published=False
)
