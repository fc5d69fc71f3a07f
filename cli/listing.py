"""The option that all lists share."""

from __future__ import annotations

from typing import Annotated

import typer

Limit = Annotated[
    int, typer.Option("--limit", "-n", metavar="NUMBER", min=1, help="The most items to list.")
]
