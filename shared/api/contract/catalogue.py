"""Declarations of the routes that list models and tools, and show the caller."""

from __future__ import annotations

from ...http.operation import Operation, Tag, ok
from ..me import MeDocument
from ..models import ModelsDocument
from ..tools import ToolsDocument

LIST_MODELS = Operation(
    id="listModels",
    tag=Tag.CATALOGUE,
    summary="List the models that can be asked",
    description=(
        "What each type of model takes and costs, and why one cannot be asked. Known from the "
        "settings and this instance's circuit breakers: no model is called."
    ),
    results=ok("Every type of model.", ModelsDocument),
)

LIST_TOOLS = Operation(
    id="listTools",
    tag=Tag.CATALOGUE,
    summary="List the tools that a message may name",
    description="What each tool needs, and which settings are missing.",
    results=ok("Every tool.", ToolsDocument),
)

SHOW_ME = Operation(
    id="getMe",
    tag=Tag.CATALOGUE,
    summary="Show who the caller is",
    description=(
        "The owner, roles and departments of the caller, and what is left of its budgets and "
        "limits."
    ),
    results=ok("The caller.", MeDocument),
)
