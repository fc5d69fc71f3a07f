"""Blueprint, credential and agent identity of the app in the Entra directory.

The calls are those of https://learn.microsoft.com/entra/agent-id (Microsoft Graph v1.0).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from infra.scripts.graph import Graph, GraphError, Json

EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"
CREDENTIAL_NAME = "app-managed-identity"

BLUEPRINTS = "/applications/microsoft.graph.agentIdentityBlueprint"
BLUEPRINT_PRINCIPALS = "/servicePrincipals/microsoft.graph.agentIdentityBlueprintPrincipal"
AGENT_IDENTITIES = "/servicePrincipals/microsoft.graph.agentIdentity"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """The desired state."""

    name: str
    """Display name of blueprint and agent identity."""
    tenant_id: str
    managed_identity_principal_id: str
    sponsor_id: str
    """Object id of the person responsible for the agent identity."""
    blueprint_client_id: str = ""
    """Client id of an existing blueprint; empty: it is looked up by name."""


@dataclass(frozen=True)
class Provisioned:
    """The actual state."""

    blueprint_client_id: str
    identity_client_id: str
    identity_principal_id: str

    def variables(self) -> dict[str, str]:
        """The variables of the azd environment that the templates read."""
        return {
            "FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID": self.blueprint_client_id,
            "FOUNDRY_AGENT_IDENTITY_CLIENT_ID": self.identity_client_id,
            "AGENT_IDENTITY_PRINCIPAL_ID": self.identity_principal_id,
        }


class Provisioner:
    """Changes the directory to the desired state; a dry run only reads."""

    def __init__(self, graph: Graph, wanted: Wanted, *, dry_run: bool, say: Say) -> None:
        self._graph = graph
        self._wanted = wanted
        self._dry_run = dry_run
        self._say = say

    def provision(self) -> Provisioned | None:
        """Make what is missing; None from a dry run that finds something missing.

        Raises:
            GraphError: if Graph refuses, or several blueprints have the name.
        """
        blueprint = self._blueprint() or self._make("blueprint", BLUEPRINTS, self._sponsored({}))
        if blueprint is None:
            self._say("would then make its principal, federated credential and agent identity")
            return None
        app_id = str(blueprint["appId"])
        self._ensure_principal(app_id)
        self._ensure_credential(str(blueprint["id"]))
        identity = self._identity(app_id) or self._make(
            "agent identity",
            AGENT_IDENTITIES,
            self._sponsored({"agentIdentityBlueprintId": app_id}),
        )
        if identity is None:
            return None
        object_id = str(identity["id"])
        return Provisioned(app_id, str(identity.get("appId") or object_id), object_id)

    def delete(self) -> None:
        """Remove the agent identity and the blueprint, with which its principal goes.

        Raises:
            GraphError: as for `provision`.
        """
        blueprint = self._blueprint()
        if blueprint is None:
            self._say(f"there is no blueprint {self._wanted.name}")
            return
        if identity := self._identity(str(blueprint["appId"])):
            self._change("DELETE", f"/servicePrincipals/{identity['id']}", "agent identity")
        self._change("DELETE", f"/applications/{blueprint['id']}", "blueprint")

    def _blueprint(self) -> Json | None:
        if client_id := self._wanted.blueprint_client_id:
            path = f"/applications(appId='{client_id}')/microsoft.graph.agentIdentityBlueprint"
            if found := self._graph.find(path):
                return found
        name = self._wanted.name.replace("'", "''")
        found = list(self._graph.list(BLUEPRINTS, {"$filter": f"displayName eq '{name}'"}))
        if len(found) > 1:
            ids = ", ".join(str(each["appId"]) for each in found)
            raise GraphError(
                f"{len(found)} blueprints are called {self._wanted.name}: name one with "
                f"--blueprint-client-id ({ids})."
            )
        return found[0] if found else None

    def _ensure_principal(self, app_id: str) -> None:
        if self._graph.find(f"/servicePrincipals(appId='{app_id}')") is None:
            self._make("blueprint principal", BLUEPRINT_PRINCIPALS, {"appId": app_id})

    def _ensure_credential(self, blueprint_id: str) -> None:
        """Matching is case-sensitive, and the subject is the object id, not the client id."""
        path = f"/applications/{blueprint_id}/microsoft.graph.agentIdentityBlueprint"
        path += "/federatedIdentityCredentials"
        values: Json = {
            "issuer": f"https://login.microsoftonline.com/{self._wanted.tenant_id}/v2.0",
            "subject": self._wanted.managed_identity_principal_id,
            "audiences": [EXCHANGE_AUDIENCE],
        }
        there = list(self._graph.list(path))
        if any(all(each.get(k) == v for k, v in values.items()) for each in there):
            return
        if stale := next((each for each in there if each.get("name") == CREDENTIAL_NAME), None):
            self._change("PATCH", f"{path}/{stale['id']}", "federated credential", values)
        else:
            self._make("federated credential", path, {"name": CREDENTIAL_NAME, **values})

    def _identity(self, app_id: str) -> Json | None:
        # Graph does not filter agent identities by their blueprint.
        select = {"$select": "id,appId,displayName,agentIdentityBlueprintId", "$top": "999"}
        for each in self._graph.list(AGENT_IDENTITIES, select):
            if (each.get("agentIdentityBlueprintId"), each.get("displayName")) == (
                app_id,
                self._wanted.name,
            ):
                return each
        return None

    def _sponsored(self, values: Json) -> Json:
        sponsor = f"{self._graph.url}/users/{self._wanted.sponsor_id}"
        return {"displayName": self._wanted.name, "sponsors@odata.bind": [sponsor], **values}

    def _make(self, what: str, path: str, body: Json) -> Json | None:
        return self._change("POST", path, what, body)

    def _change(self, method: str, path: str, what: str, body: Json | None = None) -> Json | None:
        does = {"POST": "make", "PATCH": "correct", "DELETE": "delete"}[method]
        if self._dry_run:
            self._say(f"would {does} the {what}: {method} {path} {body or ''}".rstrip())
            return None
        answer = self._graph.change(method, path, body)
        self._say(f"{does}: {what} {self._wanted.name}")
        return answer
