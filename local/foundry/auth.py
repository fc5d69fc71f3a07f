"""Authentication: Entra tokens on project paths, keys or tokens on resource paths.

Tokens the managed-identity endpoint issues are JWTs signed with a secret of the emulator's state,
so they stay valid over a restart and carry the audience they were asked for.
"""

import time
from dataclasses import dataclass

import jwt
from starlette.requests import Request

from .errors import ApiError, GatewayError, JsonObject
from .settings import PROJECT_AUDIENCE, RESOURCE_AUDIENCE, EmulatorSettings

TOKEN_LIFETIME_SECONDS = 24 * 3600
PRINCIPAL_ID = "6f1f9c1e-0000-4000-8000-00000000c0de"
"""The object id of the one managed identity the emulator knows."""
_ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class Gate:
    """Checks the credentials of requests and issues tokens."""

    settings: EmulatorSettings
    signing_secret: str

    def issue(self, resource: str, client_id: str | None) -> JsonObject:
        """Make a token for `resource`, in the body App Service's identity endpoint gives."""
        expires_on = int(time.time()) + TOKEN_LIFETIME_SECONDS
        client = client_id or PRINCIPAL_ID
        claims = {"aud": resource.rstrip("/"), "exp": expires_on, "oid": client}
        return {
            "access_token": jwt.encode(claims, self.signing_secret, _ALGORITHM),
            "expires_on": str(expires_on),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": client,
        }

    def check_project(self, request: Request) -> None:
        """Let a project call pass only with a token of the project's audience."""
        token = _bearer(request)
        if token in self.settings.tokens_without_role:
            raise _missing_data_action(request)
        if not self._accepts(token, PROJECT_AUDIENCE):
            raise _unauthorized(PROJECT_AUDIENCE)

    def check_resource(self, request: Request) -> None:
        """Let a resource call pass with a key, or with a token of either audience."""
        if "api-key" in request.headers:
            if request.headers["api-key"] in self.settings.api_keys:
                return
            message = (
                "Access denied due to invalid subscription key or wrong API endpoint. Make sure to "
                "provide a valid key for an active subscription and use a correct regional API "
                "endpoint for your resource."
            )
            raise ApiError(401, "401", message)
        token = _bearer(request)
        if token in self.settings.api_keys:  # the openai package sends its api_key as a bearer
            return
        if not any(self._accepts(token, aud) for aud in (PROJECT_AUDIENCE, RESOURCE_AUDIENCE)):
            raise _unauthorized(RESOURCE_AUDIENCE)

    def check_identity_header(self, request: Request) -> None:
        """Let only callers that know the identity header ask for tokens."""
        if request.headers.get("x-identity-header") != self.settings.identity_header:
            raise GatewayError(401, "Invalid X-IDENTITY-HEADER.")

    def _accepts(self, token: str | None, audience: str) -> bool:
        if token is None:
            return False
        if token in self.settings.tokens:
            return True
        try:
            jwt.decode(token, self.signing_secret, [_ALGORITHM], audience=audience)
        except jwt.InvalidTokenError:
            return False
        return True


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _unauthorized(audience: str) -> GatewayError:
    message = (
        "Unauthorized. Access token is missing, invalid, audience is incorrect "
        f"({audience}), or have expired."
    )
    return GatewayError(401, message)


def _missing_data_action(request: Request) -> ApiError:
    verb = "read" if request.method == "GET" else "write"
    action = f"Microsoft.CognitiveServices/accounts/AIServices/agents/{verb}"
    family = "openai/*" if "/openai/" in request.url.path else "agents/*"
    message = (
        f"The principal `{PRINCIPAL_ID}` lacks the required data action `{action}` to perform "
        f"`{request.method} /api/projects/{{projectName}}/{family}` operation. "
        "See https://aka.ms/FoundryPermissions."
    )
    return ApiError(401, "PermissionDenied", message)
