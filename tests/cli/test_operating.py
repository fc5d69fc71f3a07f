"""Usage, budgets, audit, keys and the doctor, as an operator uses them."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.processes import free_port
from local.services import FunctionsHost
from tests.support.leaks import leaks
from tests.support.terminal import INTERRUPT, Aos

from .stub import Said, answering

WIDE, NARROW = 120, 40


@pytest.fixture
def operator(app: FunctionsHost, tmp_path: Path) -> Aos:
    """The command line of the operator, who needs no key here."""
    return Aos(tmp_path, app.url)


@pytest.mark.parametrize("columns", [WIDE, NARROW])
def test_usage_by_day_and_model_as_a_table_and_as_bars(aos: Aos, columns: int) -> None:
    assert aos.pipe("chat", "Hi").code == 0
    table = aos.run("usage", "--by", "day,model", columns=columns)
    assert table.code == 0
    assert "llama-3.3-70b" in table.plain
    assert "total" in table.plain
    bars = aos.run("usage", "--by", "model", "--plot", "tokens", columns=columns)
    assert "█" in bars.plain
    assert max(map(len, bars.plain.strip().splitlines())) <= columns
    narrow = Aos(aos.folder, aos.url, {**aos.more, "TERM": "dumb"})
    assert "#" in narrow.run("usage", "--plot", "turns", columns=columns).plain


def test_usage_for_programs(aos: Aos) -> None:
    assert aos.pipe("chat", "Hi").code == 0
    report = json.loads(aos.pipe("usage", "--by", "model").out)
    assert report["total"]["requests"] == 1
    rows = list(csv.DictReader(io.StringIO(aos.pipe("usage", "--csv").out.lstrip("\ufeff"))))
    assert [row["requests"] for row in rows] == ["1"]
    assert aos.pipe("usage", "--csv", "--plot", "cost").code == 2
    assert aos.pipe("usage", "--by", "nonsense").code == 1


@pytest.mark.parametrize("columns", [WIDE, NARROW])
async def test_budgets_show_what_is_left(
    admin: httpx.AsyncClient, app: FunctionsHost, tmp_path: Path, columns: int
) -> None:
    body = {"label": "b", "budgets": [{"requests": 5, "per": "day"}]}
    key = (await admin.post("keys", json=body)).json()["key"]
    aos = Aos(tmp_path, app.url, {"AOS_KEY": key})
    assert aos.pipe("chat", "Hi").code == 0
    (budget,) = json.loads(aos.pipe("budgets").out)
    assert (budget["limit"], budget["left"]) == (5, 4)
    shown = aos.run("budgets", columns=columns)
    assert f"key:{key.split('_')[1]}" in shown.plain
    assert "requests" in shown.plain


@pytest.mark.parametrize("columns", [WIDE, NARROW])
def test_the_audit_trail_is_shown_followed_and_exported(aos: Aos, columns: int) -> None:
    thread = json.loads(aos.pipe("threads", "new").out)["thread_id"]
    shown = aos.run("audit", "tail", "--thread", thread, columns=columns)
    assert shown.code == 0
    assert "thread_create" in shown.plain
    following = aos.start("audit", "tail", "-f", "--thread", thread, columns=columns)
    following.expect("thread_create")
    assert aos.pipe("chat", "-t", thread, "Hi").code == 0
    following.expect("send  succeeded")
    following.type(INTERRUPT)
    assert following.wait().code == 130
    exported = [json.loads(line) for line in aos.pipe("audit", "export").out.splitlines()]
    assert {"thread_create", "send"} <= {record["action"] for record in exported}
    rows = csv.DictReader(io.StringIO(aos.pipe("audit", "export", "-o", "csv").out))
    assert "thread_create" in {row["action"] for row in rows}
    assert aos.pipe("audit", "export", "--from", "2026-13-01").code == 2
    long_ago = aos.pipe("audit", "export", "--from", "2026-01-01", "--to", "2026-03-15")
    assert (long_ago.code, long_ago.out) == (0, "")


@pytest.mark.parametrize("columns", [WIDE, NARROW])
def test_a_key_from_its_creation_to_its_end(operator: Aos, columns: int) -> None:
    made = ("keys", "create", "--label", "ci", "--expires", "2100-01-01T00:00:00Z")
    created = operator.run(*made, "--budgets", '[{"requests": 1, "per": "day"}]', columns=columns)
    assert created.code == 0
    text = created.plain.replace("\n", " ")
    (key,) = [word for word in text.split() if word.startswith("aos_")]
    key_id = key.split("_")[1]
    listed = operator.run("keys", "ls", "-n", "1000", columns=columns)
    assert key_id in listed.plain
    assert leaks(listed.out) == []
    revoked = operator.run("keys", "revoke", key_id, columns=columns)
    assert (revoked.code, "revoked" in revoked.plain) == (0, True)
    whole = operator.pipe("keys", "revoke", key)
    assert whole.code == 2
    assert leaks(whole.err) == []


def test_a_caller_who_is_no_admin_creates_no_key(aos: Aos) -> None:
    refused = aos.run("keys", "create", "--label", "mine")
    assert refused.code == 1
    assert "(forbidden, " in refused.plain
    assert "See what you may do: aos whoami" in refused.plain


@pytest.mark.parametrize("columns", [WIDE, NARROW])
def test_the_doctor_finds_everything_well(operator: Aos, columns: int) -> None:
    result = operator.run("doctor", columns=columns)
    assert result.code == 0, result.plain
    findings = json.loads(operator.pipe("doctor").out)
    by_check = {each["check"]: each["status"] for each in findings}
    for check in ("address", "clock", "key", "roles", "table", "foundry"):
        assert by_check[check] == "ok"
        assert check in result.plain


def test_the_doctor_names_the_command_that_fixes_it(
    app: FunctionsHost, key: str, tmp_path: Path
) -> None:
    gone = Aos(tmp_path, f"http://127.0.0.1:{free_port()}")
    findings = {each["check"]: each for each in json.loads(gone.pipe("doctor").out)}
    assert (findings["address"]["status"], findings["address"]["fix"]) == ("failed", "make run")
    wrong = Aos(tmp_path, app.url, {"AOS_KEY": f"{key[:-8]}AAAAAAAA"})
    result = wrong.pipe("doctor")
    findings = {each["check"]: each for each in json.loads(result.out)}
    assert (findings["key"]["status"], findings["key"]["fix"]) == ("failed", "aos login")
    assert result.code == 1
    assert "these checks failed: key" in result.err


BROKEN = {
    "foundry": "Give the app's identity the role 'Foundry User' on the project.",
    "credential": "Set FOUNDRY_AGENT_SERVICE_API_KEY or sign in.",
    "table": "Give it the role 'Storage Table Data Contributor' on the account.",
}


@pytest.mark.parametrize("columns", [WIDE, NARROW])
def test_what_the_app_finds_broken_comes_with_a_command(tmp_path: Path, columns: int) -> None:
    checks: dict[str, dict[str, Any]] = {
        name: {"status": "failed", "detail": text} for name, text in BROKEN.items()
    }
    checks["poison"] = {"status": "warning", "detail": "Messages failed for good."}
    checks["queues"] = {"status": "ok", "oldest_seconds": {"agent-jobs": 3.0}}
    problem = {"code": "not_ready", "status": 503, "ready": False, "checks": checks}
    budget = {"subject": "key:x", "of": "tokens", "left": 0}
    models = {
        "default": "vllm",
        "data": [
            {"model_type": "vllm", "is_available": False, "unavailable": "Set VLLM_SERVER_URL."},
            {"model_type": "openai", "is_available": True, "breaker": {"circuit": "open"}},
        ],
    }
    answers = {
        "health": Said(200, b"{}"),
        "me": Said(200, json.dumps({"roles": [], "budgets": [budget]}).encode()),
        "health/ready": Said(503, json.dumps(problem).encode()),
        "models": Said(200, json.dumps(models).encode()),
    }
    with answering(answers) as stub:
        aos = Aos(tmp_path, stub.url)
        found = {each["check"]: each for each in json.loads(aos.pipe("doctor").out)}
        shown = aos.run("doctor", columns=columns)
    assert shown.code == 1
    assert "these checks failed: foundry, credential, table, model vllm" in shown.plain
    fixes = {name: str(found[name]["fix"]) for name in found}
    assert '--role "Foundry User"' in fixes["foundry"]
    assert fixes["credential"].startswith("azd env set FOUNDRY_AGENT_SERVICE_API_KEY")
    assert '--role "Storage Table Data Contributor"' in fixes["table"]
    assert "az storage message peek" in fixes["poison"]
    assert fixes["budget"] == "aos budgets"
    assert "VLLM_SERVER_URL" in fixes["model vllm"]
    assert (found["queues"]["status"], fixes["queues"]) == ("ok", "")
    assert found["model openai"]["status"] == "warning"
    assert found["roles"]["status"] == "warning"
