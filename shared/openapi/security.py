"""The security schemes of the API document, by what the app takes."""

from __future__ import annotations

from ..config import AuthMode
from ..documents import JsonObject

SCHEMES: dict[str, JsonObject] = {
    "functionKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-functions-key",
        "description": "A function key or the host key of the app.",
    },
    "functionKeyQuery": {
        "type": "apiKey",
        "in": "query",
        "name": "code",
        "description": "The same key where a caller cannot send headers; it is easily logged.",
    },
    "clientKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "aos_<id>_<secret>",
        "description": "A client key of this app; also taken in the headers `api-key` and "
        "`x-api-key`.",
    },
    "entra": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A Microsoft Entra token for this app, with the role or the permission "
        "`Agents.Use`; App Service authentication checks it.",
    },
}

_KEYS: tuple[dict[str, list[str]], ...] = ({"functionKey": []}, {"functionKeyQuery": []})
_CLIENT: dict[str, list[str]] = {"clientKey": []}
_TOKEN: dict[str, list[str]] = {"entra": []}
_WITH_CLIENT = tuple(key | _CLIENT for key in _KEYS)
_WITH_TOKEN = tuple(key | _TOKEN for key in _KEYS)


def alternatives(mode: AuthMode | None) -> list[dict[str, list[str]]]:
    """What a request must carry, as alternatives; without a ``mode``, what any app may take."""
    match mode:
        case AuthMode.FUNCTION:
            return [*_KEYS, *_WITH_CLIENT]
        case AuthMode.ENTRA:
            return [_TOKEN]
        case AuthMode.BOTH:
            return [*_KEYS, *_WITH_CLIENT, *_WITH_TOKEN]
        case AuthMode.KEYS:
            return [_CLIENT]
        case AuthMode.ANONYMOUS:
            return []
        case None:
            return [*_KEYS, _CLIENT, _TOKEN, *_WITH_CLIENT, *_WITH_TOKEN]
