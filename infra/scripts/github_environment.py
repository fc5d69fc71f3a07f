"""Hands the variables of a GitHub environment on to the steps that follow in a workflow.

`python3 -m infra.scripts.github_environment` reads them as JSON from VARIABLES and adds them to the
file that GITHUB_ENV names, in the form of GitHub for texts of several lines, whatever they hold.
Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def environment_file(variables: Mapping[str, str]) -> str:
    """The lines that set variables; each value ends with a delimiter that no value contains."""
    end = f"end-{secrets.token_hex(16)}"
    return "".join(f"{name}<<{end}\n{text}\n{end}\n" for name, text in variables.items())


def main() -> int:
    """Add the variables; return 1 if one has an invalid name."""
    variables: dict[str, str] = json.loads(os.environ["VARIABLES"])
    for name in variables:
        if not VARIABLE_NAME.fullmatch(name):
            sys.stderr.write(f"{name} cannot be the name of a variable.\n")
            return 1
    with Path(os.environ["GITHUB_ENV"]).open("a", encoding="utf-8") as file:
        file.write(environment_file(variables))
    return 0


if __name__ == "__main__":
    sys.exit(main())
