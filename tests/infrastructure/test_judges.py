"""What judges beside the compiler say: of snapshots, of queries, of security."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .allowed import ACCEPTED_FINDINGS
from .compiler import PLACE
from .judges import findings, query_problems
from .project import ROOT, SCENARIOS, Deployment, Project, Resource, mutated
from .snapshots import COMMITTED, PAGE, SNAPSHOTS, choices_table, scenario_file, table_in

# ---- snapshots -----------------------------------------------------------------------------------


def _validate(project: Project, name: str) -> str:
    """What the compiler finds different from a committed snapshot."""
    file = scenario_file(project, name)
    committed = SNAPSHOTS / f"{name}.snapshot.json"
    file.with_suffix(".snapshot.json").write_text(committed.read_text())
    code, out, err = project.bicep.run(
        *("snapshot", file, "--mode", "validate"),
        *("--tenant-id", PLACE["tenantId"], "--subscription-id", PLACE["subscriptionId"]),
        *("--location", PLACE["location"], "--deployment-name", PLACE["deploymentName"]),
    )
    return "" if code == 0 else out + err


@pytest.mark.parametrize("name", COMMITTED)
def test_the_committed_snapshot_is_what_is_deployed(name: str, project: Project) -> None:
    assert _validate(project, name) == "", "`make snapshots` writes it anew; look at what changed"


def test_a_change_of_what_is_deployed_is_found(project: Project, tmp_path: Path) -> None:
    changed = mutated(
        project, tmp_path, "infra/modules/storage.bicep", "deletedDays = 7", "deletedDays = 8"
    )
    assert "deleteRetentionPolicy" in _validate(changed, "nothing-chosen")


def test_the_documentation_says_what_each_choice_deploys(project: Project) -> None:
    table = choices_table(project.deployments)
    assert table_in(PAGE.read_text()) == table, "`make snapshots` writes it anew"
    assert len(table.splitlines()) == len(SCENARIOS) + 2


def test_no_snapshot_holds_a_secret() -> None:
    for path in SNAPSHOTS.iterdir():
        for text in SCENARIOS["secrets"].values():
            assert text not in path.read_text()


# ---- queries -------------------------------------------------------------------------------------


def _queries() -> dict[str, str]:
    files = {q.stem: q.read_text() for q in (ROOT / "infra/modules/queries").glob("*.kql")}
    workbook = json.loads((ROOT / "infra/modules/workbook.json").read_text())
    items = [item for item in workbook["items"] if item["type"] == 3]
    for item in items:
        query: str = item["content"]["query"]
        for parameter in ("{InputPrice}", "{OutputPrice}"):
            query = query.replace(parameter, "0.71")
        files[f"workbook: {item['name']}"] = query
    return files


def test_every_query_parses_and_knows_its_columns() -> None:
    misspelt = {
        "column": "AppRequests | summarize percentile(DurationMS, 95)",
        "operator": "AppRequests | sumarize count()",
        "function": "AppTraces | where strlne(Message) > 1",
        "table": "AppTrace | count",
    }
    queries = _queries()
    assert len(queries) >= 13
    found = query_problems({**queries, **misspelt})
    assert {name: found[name] for name in queries if found[name]} == {}
    assert all(found[name] for name in misspelt), "a misspelt query passes"


# ---- security ------------------------------------------------------------------------------------


def test_every_finding_of_the_scanner_is_mended_or_accepted(
    project: Project, tmp_path: Path
) -> None:
    """One run for all scenarios and for a storage account that takes plain HTTP."""
    broken = Resource.of(
        {
            "type": "Microsoft.Storage/storageAccounts",
            "apiVersion": "2025-06-01",
            "id": "/broken",
            "name": "broken",
            "location": "westeurope",
            "properties": {"supportsHttpsTrafficOnly": False, "minimumTlsVersion": "TLS1_0"},
        }
    )
    judged = {**project.deployments, "broken": Deployment([broken], {})}
    found = findings(judged, tmp_path)
    of_broken = {check for check, names in found.items() if names == {"broken"}}
    assert "CKV_AZURE_3 Microsoft.Storage/storageAccounts" in of_broken, "a broken account passes"
    assert set(found) - of_broken == set(ACCEPTED_FINDINGS)
