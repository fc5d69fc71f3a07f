"""Recognises that a model cannot use tools, which the service says in several ways."""

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
"""Foundry and Azure OpenAI about tools, hosted tools and functions; vLLM, which serves open
models, about a flag; older deployments about a field they do not know."""


def tools_refused(error: FoundryError, model: str) -> InvalidRequestError | None:
    """`tools_not_supported` where ``error`` says that ``model`` cannot use tools, else None."""
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
