"""The committed snapshots: what two choices deploy, so that a review shows what a change does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from .project import BASE, GUID, ROOT, SCENARIOS, Deployment, Project

PAGE = ROOT / "docs" / "deploy.md"
TABLE_START = "<!-- `make snapshots` writes this table -->\n\n"
TABLE_END = "\n<!-- end of the table -->"

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


def choices_table(deployments: Mapping[str, Deployment]) -> str:
    """What each scenario deploys, beside what is deployed where nothing is chosen, in Markdown."""
    nothing = Counter(r.type for r in deployments["nothing chosen"].resources)
    rows = ["| chosen | resources | more (+) and less (-) |", "|---|---|---|"]
    for name, deployment in deployments.items():
        there = Counter(resource.type for resource in deployment.resources)
        changes = [
            f"{'+' if there[type_] > nothing[type_] else '-'} {_in_words(type_)}"
            f"{_times(abs(there[type_] - nothing[type_]))}"
            for type_ in sorted(set(there) | set(nothing))
            if there[type_] != nothing[type_]
        ]
        rows.append(f"| {name} | {there.total()} | {', '.join(changes) or 'other values only'} |")
    return "\n".join(rows) + "\n"


def table_in(page: str) -> str:
    """The table that a page holds."""
    return page.partition(TABLE_START)[2].partition(TABLE_END)[0]


def with_table(page: str, table: str) -> str:
    """A page with another table in its place."""
    return page.replace(
        f"{TABLE_START}{table_in(page)}{TABLE_END}", TABLE_START + table + TABLE_END
    )


def _in_words(type_: str) -> str:
    provider, _, rest = type_.removeprefix("Microsoft.").partition("/")
    return f"`{provider}/{rest}`"


def _times(count: int) -> str:
    return f" x {count}" if count > 1 else ""
