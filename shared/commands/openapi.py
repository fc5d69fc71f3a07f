"""`python -m shared.commands.openapi`: write the API document that `docs/openapi.json` has."""

from __future__ import annotations

import sys

from ..api.document import document_file
from ..routes import ROUTES


def main() -> None:
    """Write the document to standard output."""
    sys.stdout.buffer.write(document_file(ROUTES))


if __name__ == "__main__":
    main()
