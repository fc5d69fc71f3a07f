"""The API document of this app, as a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..config import AuthMode
from ..openapi.document import Described, api_document, to_bytes

EXAMPLES = Path(__file__).with_name("contract") / "examples.json"
"""By operation: an example of the body, and what the app answered to it."""


def document_file(routes: Iterable[Described], mode: AuthMode | None = None) -> bytes:
    """The document of the ``routes`` of an app with this mode of access, or of any."""
    examples: dict[str, Any] = json.loads(EXAMPLES.read_bytes())
    return to_bytes(api_document(routes, examples, mode))
