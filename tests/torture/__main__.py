"""The command `python -m tests.torture`: one run, one line of figures; 1 if it found anything."""

import argparse
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

from .plan import Options
from .run import torture


def main() -> int:
    """Run with the sizes that the command line gives."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    for option in fields(Options):
        flag = f"--{option.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(option.default), default=option.default)
    parser.add_argument("--folder", type=Path, help="for logs and storage; default: a new one")
    arguments = vars(parser.parse_args())
    folder = arguments.pop("folder") or Path(tempfile.mkdtemp(prefix="torture-"))
    report = torture(Options(**arguments), folder)
    print(report, flush=True)
    if not report.passed:
        print(f"Logs and storage are in {folder}", file=sys.stderr)
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
