"""Recognises errors that say that a model does not support tools."""

from __future__ import annotations

import re

from ..errors import FoundryError, InvalidRequestError, NotFoundError

MAX_PROSE_CHARS = 2_000

_REFUSALS = re.compile(
    r"tools? (?:use |calling |choice )?(?:is|are) not supported"
    r"|tool '[^']+' is not supported"
    r"|(?:does not|doesn't) support (?:the )?(?:tools?|function)\b"
    r"|function calling is not supported"
    r"|enable-auto-tool-choice"
    r"|unrecognized request arguments? supplied:[^.]{0,200}?\btools\b"
    r"|unsupported parameter: '?(?:tools|tool_choice)\b",
    re.IGNORECASE,
)
"""The error messages of Foundry and Azure OpenAI (tools, hosted tools, functions), of vLLM (a
missing flag), and of older deployments (an unknown field)."""


def tools_refused(error: FoundryError, model: str) -> InvalidRequestError | None:
    """The error `tools_not_supported` if ``error`` says that ``model`` cannot use tools."""
    if not isinstance(error, InvalidRequestError | NotFoundError):
        return None
    if not _REFUSALS.search(error.message[:MAX_PROSE_CHARS]):
        return None
    return InvalidRequestError(
        f"The model deployment '{model}' cannot use tools. Leave the tools out, or name a "
        "deployment whose model supports tool calling (FOUNDRY_MODEL, or the agent's model).",
        code="tools_not_supported",
        status_code=error.status_code,
        request_id=error.request_id,
    )
