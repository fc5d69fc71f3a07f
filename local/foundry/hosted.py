"""Tools of MCP servers that the service runs itself, as far as a caller notices them.

There are two servers. The tools of `docs` need an approval: a message `/mcp NAME {json}` has the
tool of that name called, and the answer is a request for it. The server `mail` needs the consent of
the user: a message `/consent` is answered with a link to it.
"""

from local.model import Prompt
from local.model.base import message_text

from .errors import JsonObject

CONSENT_LINK = "https://consent.example/mail"


def asked_by(prompt: Prompt) -> JsonObject | None:
    """The request that answers a prompt; None if the model answers it."""
    last = prompt.messages[-1] if prompt.messages else {}
    if last.get("role") != "user":
        return None
    said = message_text(last).strip()
    if said == "/consent":
        return {
            "type": "oauth_consent_request",
            "server_label": "mail",
            "consent_link": CONSENT_LINK,
        }
    match said.split(maxsplit=2):
        case ["/mcp", name, *arguments]:
            return {
                "type": "mcp_approval_request",
                "server_label": "docs",
                "name": name,
                "arguments": arguments[0] if arguments else "{}",
            }
        case _:
            return None
