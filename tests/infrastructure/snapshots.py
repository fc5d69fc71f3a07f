"""The committed snapshots: what two choices deploy, so that a review shows what a change does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .project import BASE, GUID, SCENARIOS, Project

SNAPSHOTS = Path(__file__).with_name("snapshots")
COMMITTED: Mapping[str, Mapping[str, str]] = {
    "nothing-chosen": BASE,
    # With a registration that is there: the compiler cannot compare resources of extensions.
    "everything": {**BASE, **SCENARIOS["everything"], "ENTRA_APP_CLIENT_ID": GUID},
}
"""The azd environment of each snapshot."""


def scenario_file(project: Project, name: str) -> Path:
    """The parameters file that a snapshot is of."""
    file = project.folder / f"{name}.bicepparam"
    file.write_text(project.parameters_file(COMMITTED[name]).read_text())
    return file
