"""The rules that the templates and the files around them must keep.

Each function takes a project and answers what breaks its rule, one text each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from infra.scripts.package import packaged_files
from local.host.settings import read_host_settings
from shared.config import JobSettings

from .allowed import API_VERSIONS, FORBIDDEN_ON_FLEX, ROLES
from .compiler import CompilerError
from .project import ROOT, Project, resources_of, secret_settings

Rule = Callable[[Project], Iterator[str]]

QUEUE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]")
TABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")
OUTPUT_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
SECRET_SIGN = re.compile(r"AccountKey=|listKeys\(|SharedAccessSignature|ApiKey=", re.IGNORECASE)
KEY_LIKE = re.compile(r"SECRET|PASSWORD|TOKEN|(^|_)KEY", re.IGNORECASE)
RESOURCE = re.compile(r"^resource \w+ '([^@']+)@([^']+)'", re.MULTILINE)
TLS = {"1.2", "1.3", "TLS1_2", "TLS1_3"}
UNSAMPLED = {"Request", "Exception", "Event"}
"""Telemetry that figures are counted from, and failures found in."""

SITE = "Microsoft.Web/sites"
STORAGE = "Microsoft.Storage/storageAccounts"


def storage_takes_no_keys(project: Project) -> Iterator[str]:
    """Shared keys and public blobs are off; HTTPS with TLS 1.2 or newer."""
    for account in project.of_type(STORAGE):
        properties = account.properties
        if properties.get("allowSharedKeyAccess") is not False:
            yield f"{account}: shared keys are on"
        if properties.get("allowBlobPublicAccess") is not False:
            yield f"{account}: public blobs are on"
        if properties.get("minimumTlsVersion") not in TLS:
            yield f"{account}: TLS is too old"
        if properties.get("supportsHttpsTrafficOnly") is not True:
            yield f"{account}: plain HTTP is on"


def local_authentication_is_off(project: Project) -> Iterator[str]:
    """Foundry, Application Insights and the workspace take Entra tokens only."""
    switches = {
        "Microsoft.CognitiveServices/accounts": ("disableLocalAuth",),
        "Microsoft.Insights/components": ("DisableLocalAuth",),
        "Microsoft.OperationalInsights/workspaces": ("features", "disableLocalAuth"),
    }
    for type_, path in switches.items():
        for resource in project.of_type(type_):
            if _at(resource.properties, *path) is not True:
                yield f"{resource}: keys are on"


def site_is_safe_and_sized(project: Project) -> Iterator[str]:
    """The function app: transport, identity, runtime, deployment, scale."""
    for site in project.of_type(SITE):
        properties = site.properties
        config = properties["functionAppConfig"]
        scale = config["scaleAndConcurrency"]
        checks = {
            "plain HTTP is on": properties.get("httpsOnly") is True,
            "FTP is on": _at(properties, "siteConfig", "ftpsState") == "Disabled",
            "TLS is too old": _at(properties, "siteConfig", "minTlsVersion") in TLS,
            "it has no identity": bool(_at(site.body, "identity", "userAssignedIdentities")),
            "it is not Python": config["runtime"]["name"] == "python",
            "its Python is not supported": config["runtime"]["version"] in {"3.13", "3.14"},
            "its package is read with a key": _at(
                config, "deployment", "storage", "authentication", "type"
            )
            == "UserAssignedIdentity",
            "its memory is no size of Flex": scale["instanceMemoryMB"] in {512, 2048, 4096},
            "its instances are not 1 to 1000": 1 <= scale["maximumInstanceCount"] <= 1000,
            "its HTTP concurrency is the platform's": bool(
                _at(scale, "triggers", "http", "perInstanceConcurrency")
            ),
        }
        yield from (f"{site}: {problem}" for problem, good in checks.items() if not good)
    for policy in project.of_type(f"{SITE}/basicPublishingCredentialsPolicies"):
        if policy.properties["allow"] is not False:
            yield f"{policy}: publishing with a password is on"


def app_settings_hold_no_secret(project: Project) -> Iterator[str]:
    """No setting that Flex refuses, and no value with a key in it, here or anywhere."""
    for site in project.of_type(SITE):
        for setting in site.properties["siteConfig"]["appSettings"]:
            if setting["name"] in FORBIDDEN_ON_FLEX:
                yield f"{site}: {setting['name']} is not valid on Flex Consumption"
    for path in sorted(project.infra.rglob("*")):
        if path.suffix in {".bicep", ".bicepparam", ".json", ".xml"} and SECRET_SIGN.search(
            path.read_text()
        ):
            yield f"{path.name}: holds or reads a key"


def queues_and_tables_are_declared(project: Project) -> Iterator[str]:
    """Every queue of the settings with its poison twin, every table, all with legal names."""
    for scenario, deployment in project.deployments.items():
        settings = deployment.settings()
        queues = {q.name for q in deployment.of_type(f"{STORAGE}/queueServices/queues")}
        tables = {t.name for t in deployment.of_type(f"{STORAGE}/tableServices/tables")}
        used = {v for k, v in settings.items() if k.endswith("_QUEUE_NAME")}
        kept = {v for k, v in settings.items() if k.endswith("_TABLE_NAME")}
        for name in used | {f"{each}-poison" for each in used}:
            if name not in queues:
                yield f"{scenario}: the queue {name} is not declared"
        for name in kept - tables:
            yield f"{scenario}: the table {name} is not declared"
        yield from (f"{q} is no queue name" for q in queues if not QUEUE_NAME.fullmatch(q))
        yield from (f"{t} is no table name" for t in tables if not TABLE_NAME.fullmatch(t))


def roles_are_least(project: Project) -> Iterator[str]:
    """Only listed roles, on a resource, under a stable name, with the kind of principal."""
    for role in project.of_type("Microsoft.Authorization/roleAssignments"):
        properties = role.properties
        if properties["roleDefinitionId"].rpartition("/")[2] not in ROLES:
            yield f"{role}: gives a role that is not listed"
        if not properties.get("principalType"):
            yield f"{role}: does not say what kind of principal gets it"
        if not properties.get("description"):
            yield f"{role}: gives no reason"
        if role.id.count("/providers/") < 2:
            yield f"{role}: is on more than a resource"
    for module, template in project.templates():
        for resource in resources_of(template):
            is_role = resource["type"] == "Microsoft.Authorization/roleAssignments"
            if is_role and _arguments(resource["name"], "guid") != 3:
                yield f"{module}: {resource['name']} is not named guid(a, b, c)"


def modules_fit_together(project: Project) -> Iterator[str]:
    """The compiler and its linter have nothing to say, and every scenario deploys."""
    yield from map(str, project.template[1])
    assert project.deployments or project.errors
    yield from project.errors


def parameters_file_matches(project: Project) -> Iterator[str]:
    """Each variable is read under its own name; every default is here and nowhere else."""
    written = (project.infra / "main.bicepparam").read_text()
    for name, variable in re.findall(r"(\w+): .*readEnvironmentVariable\('(\w+)'", written):
        if name != variable:
            yield f"{name} is read from {variable}"
    for name in re.findall(r"choices\.(\w+)", written):
        if f"  {name}: readEnvironmentVariable" not in written:
            yield f"{name} is not read from the environment"
    for name, parameter in next(project.templates())[1].get("parameters", {}).items():
        if "defaultValue" in parameter:
            yield f"{name}: its default belongs to main.bicepparam"
    try:
        project.deploy({})
    except CompilerError as error:
        yield str(error)


def outputs_are_public(project: Project) -> Iterator[str]:
    """Outputs end up in a file that azd writes: in capitals, and nothing secret."""
    for module, template in project.templates():
        for name, output in template.get("outputs", {}).items():
            if module == "main" and not OUTPUT_NAME.fullmatch(name):
                yield f"main: the output {name} is not UPPER_SNAKE"
            if output["type"].startswith("secure") or KEY_LIKE.search(name):
                yield f"{module}: the output {name} looks like a secret"


def secrets_stay_in_the_vault(project: Project) -> Iterator[str]:
    """The texts of secrets are nowhere in a deployment, and the vault lets in Entra only."""
    for scenario, deployment in project.deployments.items():
        settings = deployment.settings()
        everything = json.dumps([resource.body for resource in deployment.resources])
        for name in secret_settings() & set(project.scenarios[scenario]):
            if not settings.get(name, "").startswith("@Microsoft.KeyVault("):
                yield f"{scenario}: {name} is not a Key Vault reference"
            if json.dumps(project.scenarios[scenario][name]) in everything:
                yield f"{scenario}: the text of {name} is deployed"
    for vault in project.of_type("Microsoft.KeyVault/vaults"):
        if vault.properties.get("enableRbacAuthorization") is not True:
            yield f"{vault}: access policies are on"
        if vault.properties.get("enablePurgeProtection") is not True:
            yield f"{vault}: secrets may be purged"
    parameters = project.template[0].get("parameters", {})
    if "SecretByName" not in parameters.get("secrets", {}).get("$ref", ""):
        yield "main: the parameter secrets is not secure"


def api_versions_are_listed(project: Project) -> Iterator[str]:
    """Every type is in the list, in the version of the list."""
    for path in sorted(project.infra.rglob("*.bicep")):
        for type_, version in RESOURCE.findall(path.read_text()):
            if API_VERSIONS.get(type_) != version:
                yield f"{path.name}: {type_}@{version} is not in the list"


def alerts_reach_somebody(project: Project) -> Iterator[str]:
    """An alert names an action group or is off, and deploys before its tables exist."""
    for rule in project.of_type("Microsoft.Insights/scheduledQueryRules"):
        properties = rule.properties
        if properties.get("skipQueryValidation") is not True:
            yield f"{rule}: its query is validated against tables that do not exist yet"
        if properties["enabled"] and not _at(properties, "actions", "actionGroups"):
            yield f"{rule}: nobody is told"
        query = properties["criteria"]["allOf"][0]["query"]
        if re.search(r"\{\w+\}", query) or "Value" not in query:
            yield f"{rule}: its query has an unfilled place or answers no Value"


def host_json_is_sound(project: Project) -> Iterator[str]:
    """The host's settings fit Flex Consumption and the code."""
    host = json.loads((project.root / "host.json").read_text())
    queues = host["extensions"]["queues"]
    sampling = host["logging"]["applicationInsights"]["samplingSettings"]
    read = read_host_settings(project.root / "host.json", {})
    longest = max(
        info.le for info in JobSettings.model_fields["turn_timeout"].metadata if hasattr(info, "le")
    )
    seconds = read.function_timeout.total_seconds() if read.function_timeout else float("inf")
    checks = {
        "version is not 2.0": host["version"] == "2.0",
        "the bundle is not [4.*, 5.0.0)": host["extensionBundle"]["version"] == "[4.*, 5.0.0)",
        "batchSize is not 1 to 32": 1 <= queues["batchSize"] <= 32,
        "maxDequeueCount is less than 1": queues["maxDequeueCount"] >= 1,
        "a failed message comes back at once": read.queues.visibility_timeout.total_seconds() > 0,
        "messages are not base64": queues["messageEncoding"] == "base64",
        "a job's turn may outlast functionTimeout": longest < seconds,
        "figures are sampled": set(sampling["excludedTypes"].split(";")) >= UNSAMPLED,
        "the host does not speak OpenTelemetry": host["telemetryMode"] == "OpenTelemetry",
    }
    yield from (f"host.json: {problem}" for problem, good in checks.items() if not good)


def package_holds_what_runs(project: Project) -> Iterator[str]:
    """`.funcignore` keeps the app and drops everything else."""
    kept = packaged_files(ROOT, project.root / ".funcignore")
    for needed in ("host.json", "function_app.py", "requirements.txt", "shared/config/app.py"):
        if needed not in kept:
            yield f"{needed} is left out"
    for file in kept:
        if not _DEPLOYED.fullmatch(file):
            yield f"{file} is deployed"


_DEPLOYED = re.compile(
    r"host\.json|function_app\.py|requirements\.txt|shared/.+\.py"
    r"|shared/api/contract/examples\.json|shared/api/docs_page/[^/]+|shared/console/static/.+"
)
"""The app, and the data that it reads or serves."""


def azure_yaml_matches(project: Project) -> Iterator[str]:
    """The service is the tagged site; the hooks are there and may be run."""
    document = yaml.safe_load((project.root / "azure.yaml").read_text())
    tags = {site.body["tags"].get("azd-service-name") for site in project.of_type(SITE)}
    if set(document["services"]) != tags:
        yield f"the services are {sorted(document['services'])}, the site's tag is {tags}"
    for name, service in document["services"].items():
        if (service["host"], service["language"]) != ("function", "python"):
            yield f"{name}: is not a Python function app"
        if not (project.root / service["project"] / "host.json").is_file():
            yield f"{name}: there is no app in {service['project']}"
    infra = document["infra"]
    if not (project.root / infra["path"] / f"{infra['module']}.bicep").is_file():
        yield "there is no template where azure.yaml says"
    for name, hook in document["hooks"].items():
        modules = {
            platform: re.fullmatch(r"python3? -m (infra\.scripts\.\w+)", hook[platform]["run"])
            for platform in ("posix", "windows")
            if platform in hook
        }
        for platform, module in modules.items():
            path = f"{module[1].replace('.', '/')}.py" if module else "a script of this repository"
            if not (project.root / path).is_file():
                yield f"{name}: {path} is not there for {platform}"
        if len({module[1] for module in modules.values() if module}) != 1 or len(modules) != 2:
            yield f"{name}: is not the same script on Windows and elsewhere"


RULES: list[Rule] = [
    storage_takes_no_keys,
    local_authentication_is_off,
    site_is_safe_and_sized,
    app_settings_hold_no_secret,
    queues_and_tables_are_declared,
    roles_are_least,
    modules_fit_together,
    parameters_file_matches,
    outputs_are_public,
    secrets_stay_in_the_vault,
    api_versions_are_listed,
    alerts_reach_somebody,
    host_json_is_sound,
    package_holds_what_runs,
    azure_yaml_matches,
]


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _arguments(expression: str, function: str) -> int:
    """How many arguments an ARM expression gives a function that it consists of."""
    if not expression.startswith(f"[{function}(") or not expression.endswith(")]"):
        return 0
    depth, count = 0, 1
    for character in expression[len(function) + 2 : -2]:
        depth += {"(": 1, ")": -1}.get(character, 0)
        count += character == "," and depth == 0
    return count
