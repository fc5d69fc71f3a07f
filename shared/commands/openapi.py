"""`python -m shared.commands.openapi`: write the API document that `docs/openapi.json` has."""

from __future__ import annotations

import sys

from ..api.document import document_file


def main() -> None:
    """Write the document to standard output."""
    sys.stdout.buffer.write(document_file())


if __name__ == "__main__":
    main()
