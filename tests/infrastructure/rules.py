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
from .bicep import text
from .deployment import Resource
from .parameters import SUBSTITUTION
from .project import ROOT, Project

Rule = Callable[[Project], Iterator[str]]

QUEUE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]")
TABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")
OUTPUT_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
SECRET_SIGN = re.compile(r"AccountKey=|listKeys\(|SharedAccessSignature|ApiKey=", re.IGNORECASE)
KEY_LIKE = re.compile(r"SECRET|PASSWORD|TOKEN|(^|_)KEY", re.IGNORECASE)
GUID_OF_THREE = re.compile(r"\n  name: guid\([^,()]+, [^,()]+, [^,()]+\)")
TLS = {"1.2", "1.3", "TLS1_2", "TLS1_3"}
UNSAMPLED = {"Request", "Exception", "Event"}
"""Telemetry that figures are counted from, and failures found in."""

SITE = "Microsoft.Web/sites"
STORAGE = "Microsoft.Storage/storageAccounts"


def storage_takes_no_keys(project: Project) -> Iterator[str]:
    """Shared keys and public blobs are off; HTTPS with TLS 1.2 or newer."""
    for account in project.of_type(STORAGE):
        properties = account.body["properties"]
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
            if _at(resource.body["properties"], *path) is not True:
                yield f"{resource}: keys are on"


def site_is_safe_and_sized(project: Project) -> Iterator[str]:
    """The function app: transport, identity, runtime, deployment, scale."""
    for site in project.of_type(SITE):
        properties = site.body["properties"]
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
        if policy.body["properties"]["allow"] is not False:
            yield f"{policy}: publishing with a password is on"


def app_settings_hold_no_secret(project: Project) -> Iterator[str]:
    """No setting that Flex refuses, and no value with a key in it, here or anywhere."""
    for site in project.of_type(SITE):
        for setting in site.body["properties"]["siteConfig"]["appSettings"]:
            if setting["name"] in FORBIDDEN_ON_FLEX:
                yield f"{site}: {setting['name']} is not valid on Flex Consumption"
    for path in sorted(project.infra.rglob("*")):
        if path.suffix in {".bicep", ".json", ".xml"} and SECRET_SIGN.search(path.read_text()):
            yield f"{path.name}: holds or reads a key"


def queues_and_tables_are_declared(project: Project) -> Iterator[str]:
    """Every queue of the settings with its poison twin, every table, all with legal names."""
    for scenario, deployment in project.deployments.items():
        settings = _settings(deployment.of_type(SITE)[0])
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
        properties = role.body["properties"]
        if properties["roleDefinitionId"].rpartition("/")[2] not in ROLES:
            yield f"{role}: gives a role that is not listed"
        if not properties.get("principalType"):
            yield f"{role}: does not say what kind of principal gets it"
        if not properties.get("description"):
            yield f"{role}: gives no reason"
        if not isinstance(role.body.get("scope"), Resource):
            yield f"{role}: is on more than a resource"
    for source in project.sources():
        for declaration in source.declarations["resource"].values():
            is_role = declaration.path.startswith("Microsoft.Authorization/roleAssignments")
            if is_role and not GUID_OF_THREE.search(text(declaration.node)):
                yield f"{source.path.name}: {declaration.name} is not named guid(a, b, c)"


def modules_fit_together(project: Project) -> Iterator[str]:
    """Every scenario deploys; nothing is declared for nothing; everything is described."""
    yield from project.errors
    for source in project.sources():
        yield from source.unused()
        for kind in ("param", "output"):
            for name, declaration in source.declarations[kind].items():
                if "description" not in declaration.decorators:
                    yield f"{source.path.name}: {name} has no description"


def parameters_file_matches(project: Project) -> Iterator[str]:
    """Keys are parameters, defaults agree, and nothing that is needed is missing."""
    declared = next(s for s in project.sources() if s.path.name == "main.bicep").declarations[
        "param"
    ]
    given = json.loads((project.infra / "main.parameters.json").read_text())["parameters"]
    yield from (f"{key} is no parameter of main.bicep" for key in set(given) - set(declared))
    yield from (f"{key} is not in main.parameters.json" for key in set(declared) - set(given))
    for key in set(given) & set(declared):
        value, default = given[key]["value"], declared[key].value
        for each in value.values() if isinstance(value, dict) else [value]:
            if not SUBSTITUTION.fullmatch(each):
                yield f"{key}: {each!r} is neither ${{NAME}} nor ${{NAME=default}}"
            elif default is not None and (SUBSTITUTION.fullmatch(each) or [""] * 3)[2] != (
                text(default).strip("'") or None
            ):
                yield f"{key}: main.bicep says {text(default)}, main.parameters.json {each}"


def outputs_are_public(project: Project) -> Iterator[str]:
    """Outputs end up in a file that azd writes: in capitals, and nothing secret."""
    for source in project.sources():
        for name, output in source.declarations["output"].items():
            if source.path.name == "main.bicep" and not OUTPUT_NAME.fullmatch(name):
                yield f"main.bicep: the output {name} is not UPPER_SNAKE"
            if "secure" in output.decorators or KEY_LIKE.search(name):
                yield f"{source.path.name}: the output {name} looks like a secret"


def api_versions_are_listed(project: Project) -> Iterator[str]:
    """Every type is in the list, in the version of the list."""
    for source in project.sources():
        for declaration in source.declarations["resource"].values():
            type_, _, version = declaration.path.partition("@")
            if API_VERSIONS.get(type_) != version:
                yield f"{source.path.name}: {declaration.path} is not in the list"


def alerts_reach_somebody(project: Project) -> Iterator[str]:
    """An alert names an action group or is off, and deploys before its tables exist."""
    for rule in project.of_type("Microsoft.Insights/scheduledQueryRules"):
        properties = rule.body["properties"]
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
        if not re.fullmatch(r"host\.json|function_app\.py|requirements\.txt|shared/.+\.py", file):
            yield f"{file} is deployed"


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
        for platform in ("posix", "windows"):
            script = project.root / hook[platform]["run"] if platform in hook else None
            if script and not script.is_file():
                yield f"{name}: {script.name} is not there"
            elif script and platform == "posix" and not script.stat().st_mode & 0o100:
                yield f"{name}: {script.name} may not be run"


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


def _settings(site: Resource) -> dict[str, str]:
    return {
        each["name"]: each["value"] for each in site.body["properties"]["siteConfig"]["appSettings"]
    }
