"""What the compiler does for a contributor: `python -m tests.infrastructure COMMAND`.

`check` names the templates that are not as the formatter writes them, `format` writes them so, and
`snapshots` writes anew what the committed snapshots say is deployed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from .compiler import HOW_TO_GET_ONE, REQUIRED, Bicep, find_bicep
from .project import ROOT, load
from .snapshots import COMMITTED, PAGE, SNAPSHOTS, choices_table, scenario_file, with_table


def sources() -> list[Path]:
    """Every Bicep file of the repository."""
    return sorted(p for p in (ROOT / "infra").rglob("*") if p.suffix in {".bicep", ".bicepparam"})


def write_formatted(bicep: Bicep, *, only_check: bool) -> int:
    """Write the files as the formatter would, or return 1 where one is not so."""
    unlike = [path for path in sources() if bicep.format(path) != path.read_text()]
    for path in unlike:
        sys.stderr.write(f"{'Would reformat' if only_check else 'Reformatted'}: {path.name}\n")
        if not only_check:
            path.write_text(bicep.format(path))
    return 1 if unlike and only_check else 0


def write_snapshots(bicep: Bicep) -> int:
    """Write the committed snapshots anew, and the table of what each choice deploys."""
    SNAPSHOTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project = load(bicep, Path(folder) / "infra")
        for name in COMMITTED:
            file = scenario_file(project, name)
            snapshot = bicep.snapshot(file)
            snapshot["outputs"] = dict(sorted(snapshot["outputs"].items()))  # else in any order
            text = json.dumps(snapshot, indent=2, ensure_ascii=False)
            (SNAPSHOTS / f"{name}.snapshot.json").write_text(f"{text}\n")
        PAGE.write_text(with_table(PAGE.read_text(), choices_table(project.deployments)))
    return 0


def main() -> int:
    """Run one command; without a compiler, say how to get one."""
    commands = {
        "check": lambda bicep: write_formatted(bicep, only_check=True),
        "format": lambda bicep: write_formatted(bicep, only_check=False),
        "snapshots": write_snapshots,
    }
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    executable = find_bicep()
    if executable is None:
        sys.stderr.write(f"Templates are left as they are: {HOW_TO_GET_ONE}\n")
        return 1 if os.environ.get(REQUIRED) or sys.argv[1] == "snapshots" else 0
    with Bicep(executable) as bicep:
        return commands[sys.argv[1]](bicep)


if __name__ == "__main__":
    sys.exit(main())
