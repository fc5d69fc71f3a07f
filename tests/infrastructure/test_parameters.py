"""What an azd environment says reaches the templates as it is, or is refused by its name."""

from __future__ import annotations

import json

import pytest

from .compiler import CompilerError
from .project import BASE, SCENARIOS, Project

GUID = "11111111-2222-3333-4444-555555555555"
ACCOUNT = (
    f"/subscriptions/{GUID}/resourceGroups/theirs/providers"
    "/Microsoft.CognitiveServices/accounts/their-account"
)
PROJECT = f"{ACCOUNT}/projects/their-project"
HUB = (
    f"/subscriptions/{GUID}/resourceGroups/g/providers/Microsoft.MachineLearningServices"
    "/workspaces/hub"
)
ANY_TEXT = 'a "quote", a \\ and \\n, it\'s ${X} and $$\n[{"über": "日本"}] }}\ttab %PATH%'


def _parameters(project: Project, environment: dict[str, str]) -> dict[str, object]:
    return project.bicep.parameters(project.parameters_file({**BASE, **environment}))


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {**SCENARIOS["everything"], **SCENARIOS["existing project"]},
        {"PRICES": ANY_TEXT, "BUDGETS": ANY_TEXT.strip("\t"), "VLLM_API_KEY": ANY_TEXT},
    ],
    ids=["nothing", "everything", "any text"],
)
def test_azd_gets_what_the_other_tests_judge(project: Project, environment: dict[str, str]) -> None:
    """Azd runs `bicep build-params` with the environment's variables as those of the process."""
    given = {**BASE, **environment}
    file = project.folder / "main.bicepparam"
    code, out, err = project.bicep.run("build-params", file, "--stdout", environment=given)
    assert code == 0, err
    answer = json.loads(json.loads(out)["parametersJson"])["parameters"]
    assert {k: v["value"] for k, v in answer.items()} == _parameters(project, environment)


def test_any_text_survives(project: Project) -> None:
    given = {"PRICES": ANY_TEXT, "BUDGETS": ANY_TEXT, "CALLBACK_SECRET": ANY_TEXT}
    parameters = _parameters(project, given)
    settings = parameters["settings"]
    assert isinstance(settings, dict)
    assert (settings["PRICES"], settings["BUDGETS"]) == (ANY_TEXT, ANY_TEXT)
    assert parameters["secrets"] == {"CALLBACK_SECRET": ANY_TEXT}
    emitted = project.deploy(given).settings()
    assert emitted["PRICES"] == ANY_TEXT


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("VNET_ENABLED", "yes", "true or false"),
        ("ENTRA_AUTH_ENABLED", "on", "true or false"),
        ("GATEWAY_ENABLED", "1", "true or false"),
        ("ZONE_REDUNDANT", "tru", "true or false"),
        ("DEPLOY_MODEL", "no", "true or false"),
        ("AGENT_IDENTITY_ENABLED", "enabled", "true or false"),
        ("MODEL_CAPACITY", "1O0", "a whole number from 1 to 1000000"),
        ("MODEL_CAPACITY", "0", "a whole number"),
        ("HTTP_CONCURRENCY", "1e2", "a whole number"),
        ("ALWAYS_READY_HTTP", "-1", "a whole number"),
        ("LOG_RETENTION_DAYS", "29", "from 30 to 730"),
        ("ALERT_SERVER_ERROR_PERCENT", "5%", "a whole number"),
        ("MAXIMUM_INSTANCE_COUNT", "99999999999999999999", "a whole number"),
        ("INSTANCE_MEMORY_MB", "1024", "one of 512, 2048, 4096"),
        ("GATEWAY_SKU_NAME", "Consumption", "one of BasicV2, StandardV2"),
        ("JOBS_QUEUE_NAME", "Agent_Jobs", "a queue name"),
        ("LANES_QUEUE_NAME", "a--b", "a queue name"),
        ("DELIVERIES_QUEUE_NAME", "x" * 57, "a queue name"),
        ("STATE_TABLE_NAME", "aos-foundry", "a table name"),
        ("AUDIT_TABLE_NAME", "1audit", "a table name"),
        ("METRICS_TABLE_NAME", "tables", "a table name"),
        ("LANES_QUEUE_NAME", "agent-jobs", "Two queues have one name"),
        ("AUDIT_TABLE_NAME", "AOSfoundry", "Two tables have one name"),
        ("EXISTING_PROJECT_ID", ACCOUNT, "an account"),
        ("EXISTING_PROJECT_ID", HUB, "a hub"),
        ("EXISTING_PROJECT_ID", "https://a.services.ai.azure.com/api/projects/p", "an endpoint"),
        ("EXISTING_PROJECT_ID", "my-project", "no resource id"),
        ("ENTRA_APP_CLIENT_ID", "api://agents", "a GUID"),
        ("ALLOWED_CLIENT_IDS", f"{GUID},x", "a GUID"),
        ("ALERT_EMAIL", "operators", "a mail address"),
        ("VNET_ADDRESS_PREFIX", "10.0.0.0/25", "/24 or wider"),
        ("VNET_ADDRESS_PREFIX", "10.0.0.300/24", "/24 or wider"),
        ("OPENAI_API_KEY", "akvs://vault/secret", "akvs://subscription/vault/secret"),
        ("FOUNDRY_AGENT_SERVICE_API_KEY", "a key", "FOUNDRY_AGENT_SERVICE_ENDPOINT"),
        ("AZURE_ENV_NAME", "x" * 33, "32 characters"),
    ],
)
def test_what_the_templates_cannot_take_is_refused_by_name(
    project: Project, name: str, value: str, says: str
) -> None:
    with pytest.raises(CompilerError) as refused:
        _parameters(project, {name: value})
    text = str(refused.value)
    assert says in text
    assert name in text or says.startswith("Two ")
    assert "BCP338" in text


def test_client_keys_and_app_service_authentication_exclude_each_other(project: Project) -> None:
    with pytest.raises(CompilerError) as refused:
        _parameters(project, {"AUTH_MODE": "keys", "ENTRA_AUTH_ENABLED": "true"})
    assert "AUTH_MODE=keys and ENTRA_AUTH_ENABLED exclude each other" in str(refused.value)


def test_all_problems_are_told_at_once_and_no_secret_with_them(project: Project) -> None:
    wrong = {"VNET_ENABLED": "yes", "MODEL_CAPACITY": "many", "OPENAI_API_KEY": "akvs://hidden"}
    with pytest.raises(CompilerError) as refused:
        _parameters(project, wrong)
    assert all(name in str(refused.value) for name in wrong)
    assert "hidden" not in str(refused.value)


def test_an_empty_variable_means_the_default(project: Project) -> None:
    nothing = _parameters(project, {})
    names = ("VNET_ENABLED", "MODEL_CAPACITY", "MODEL_NAME", "JOBS_QUEUE_NAME", "ALERT_EMAIL")
    for blank in ("", "  "):
        assert _parameters(project, dict.fromkeys(names, blank)) == nothing


def test_flags_and_lists_are_taken_in_every_common_spelling(project: Project) -> None:
    parameters = _parameters(
        project,
        {
            "VNET_ENABLED": " True ",
            "MODEL_CAPACITY": " 7 ",
            "ALLOWED_CLIENT_IDS": f" {GUID} ,, {GUID.upper()},",
            "ALLOWED_AUDIENCES": " api://a , ",
        },
    )
    assert parameters["vnetEnabled"] is True
    assert parameters["modelCapacity"] == 7
    assert parameters["allowedClientIds"] == [GUID, GUID.upper()]
    assert parameters["allowedAudiences"] == ["api://a"]


@pytest.mark.parametrize(
    "spelling",
    [
        PROJECT,
        f"  {PROJECT}/ ",
        PROJECT.removeprefix("/"),
        PROJECT.replace("resourceGroups", "Resourcegroups"),
        PROJECT.replace("Microsoft.CognitiveServices", "microsoft.cognitiveservices"),
        PROJECT.replace("/projects/", "/Projects/"),
    ],
)
def test_a_project_is_found_in_every_common_spelling(project: Project, spelling: str) -> None:
    assert _parameters(project, {"EXISTING_PROJECT_ID": spelling})["existingProject"] == {
        "subscriptionId": GUID,
        "resourceGroupName": "theirs",
        "accountName": "their-account",
        "projectName": "their-project",
    }
