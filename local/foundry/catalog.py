"""Deployments, models and connections of the emulated account."""

import time
from dataclasses import dataclass

from starlette.responses import JSONResponse, Response

from .errors import JsonObject, deployment_not_found, not_found
from .operation import Call


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model deployment and its capabilities."""

    name: str
    model: str
    publisher: str
    version: str = "1"
    takes_tools: bool = True
    takes_images: bool = False

    def describe(self) -> JsonObject:
        """Write it as `GET {project}/deployments/{name}` does."""
        return {
            "type": "ModelDeployment",
            "name": self.name,
            "modelName": self.model,
            "modelVersion": self.version,
            "modelPublisher": self.publisher,
            "capabilities": {"chat_completion": "true"},
            "sku": {
                "name": "GlobalStandard",
                "capacity": 1,
                "family": "",
                "size": "",
                "tier": "",
            },
        }


DEFAULT_DEPLOYMENT = "llama-3.3-70b"
DEPLOYMENTS = {
    deployment.name: deployment
    for deployment in (
        Deployment(DEFAULT_DEPLOYMENT, "Llama-3.3-70B-Instruct", "Meta"),
        Deployment("gpt-4o-mini", "gpt-4o-mini", "OpenAI", "2024-07-18", takes_images=True),
        Deployment("gpt-4.1", "gpt-4.1", "OpenAI", "2025-04-14", takes_images=True),
        Deployment("no-tools", "Llama-3.3-70B-Instruct", "Meta", takes_tools=False),
    )
}
"""All deployments, by name. The same backend answers for each."""


def find_deployment(name: str) -> Deployment:
    """Return a deployment, or raise 404 DeploymentNotFound."""
    if name not in DEPLOYMENTS:
        raise deployment_not_found(name)
    return DEPLOYMENTS[name]


async def list_deployments(call: Call) -> Response:
    """GET {project}/deployments."""
    wanted = {
        "modelPublisher": call.query("modelPublisher"),
        "modelName": call.query("modelName"),
        "type": call.query("deploymentType"),
    }
    described = [deployment.describe() for deployment in DEPLOYMENTS.values()]
    found = [
        deployment
        for deployment in described
        if all(value is None or deployment[key] == value for key, value in wanted.items())
    ]
    return JSONResponse({"value": found})


async def get_deployment(call: Call) -> Response:
    """GET {project}/deployments/{name}."""
    return JSONResponse(find_deployment(call.path("name")).describe())


async def list_models(_call: Call) -> Response:
    """GET /openai/v1/models."""
    created = int(time.time())
    data = [
        {"id": d.name, "object": "model", "created": created, "owned_by": d.publisher}
        for d in DEPLOYMENTS.values()
    ]
    return JSONResponse({"object": "list", "data": data})


async def list_connections(call: Call) -> Response:
    """GET {project}/connections."""
    return JSONResponse({"value": [_connection(call)]})


async def get_connection(call: Call) -> Response:
    """GET {project}/connections/{name}."""
    connection = _connection(call)
    if call.path("name") != connection["name"]:
        raise not_found("Connection", call.path("name"))
    return JSONResponse(connection)


def _connection(call: Call) -> JsonObject:
    """Describe the only connection: to the resource endpoint of the same account."""
    return {
        "name": "local-openai",
        "id": f"/projects/{call.service.settings.project}/connections/local-openai",
        "type": "AzureOpenAI",
        "target": f"{call.request.base_url}openai/v1",
        "isDefault": True,
        "credentials": {"type": "AAD"},
        "metadata": {},
    }
