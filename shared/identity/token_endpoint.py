"""Posts forms to the token endpoint of one Entra tenant, and reads the responses.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
Forms and responses contain credentials, so they are never logged or quoted in errors.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import httpx
from azure.core.credentials import AccessTokenInfo
from pydantic import BaseModel, Field, ValidationError

from ..outbound import OutboundSettingsError, broken, open_http, why_unreachable
from .errors import CredentialSettingsError, ExchangeError, Leg

log = logging.getLogger(__name__)

POST_SECONDS = 10.0
ATTEMPTS = 3
"""How often one form is posted: Entra asks clients to retry after a 5xx."""

FIRST_BACKOFF_SECONDS = 0.25
MAX_DESCRIPTION_CHARS = 300

_LONG_RUN = re.compile(r"[A-Za-z0-9_.~+=-]{40,}")
"""Matches tokens, assertions and secrets in error texts; a GUID is shorter."""

_CODE_IN_PROSE = re.compile(r"AADSTS(\d+)")
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


class _TokenAnswer(BaseModel):
    access_token: str = Field(min_length=1, repr=False)
    expires_in: int
    refresh_in: int | None = None


class _Refusal(BaseModel):
    error: str = ""
    error_description: str = ""
    error_codes: list[int] = []
    correlation_id: str | None = None


class TokenEndpoint:
    """The token endpoint of a tenant, ``{authority}/{tenant}/oauth2/v2.0/token``."""

    def __init__(
        self,
        authority: str,
        tenant_id: str,
        *,
        http: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = f"{authority.rstrip('/')}/{tenant_id}/oauth2/v2.0/token"
        self._clock = clock
        try:
            carrier = http or open_http(self.url)
        except OutboundSettingsError as error:
            raise CredentialSettingsError(str(error)) from error
        self._http = httpx.AsyncClient(transport=carrier, timeout=POST_SECONDS)

    async def post(self, leg: Leg, form: Mapping[str, str]) -> AccessTokenInfo:
        """Post a form, and return the token in the response.

        Raises:
            ExchangeError: naming the leg, Entra's error code and the fix.
        """
        backoff = FIRST_BACKOFF_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._post(leg, form)
            except ExchangeError as error:
                if not error.transient or attempt == ATTEMPTS:
                    raise
                log.info("Leg %d will be retried: %s", leg.value, error.message)
            await asyncio.sleep(backoff * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            backoff *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _post(self, leg: Leg, form: Mapping[str, str]) -> AccessTokenInfo:
        asked_at, request_id = self._clock(), str(uuid.uuid4())
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
            "client-request-id": request_id,
        }
        content = urlencode(form).encode()
        try:
            async with asyncio.timeout(POST_SECONDS):
                response = await self._http.post(self.url, content=content, headers=headers)
        except (*broken(), TimeoutError) as error:
            why = why_unreachable(error) or type(error).__name__
            reason = (
                f"{httpx.URL(self.url).host} cannot be reached: {why}. Check DNS and the network "
                "rules between this app and Microsoft Entra"
            )
            raise ExchangeError(leg, reason, correlation_id=request_id, transient=True) from error
        if response.status_code != HTTPStatus.OK:
            raise _refused(leg, response, form, request_id)
        try:
            answer = _TokenAnswer.model_validate_json(response.content)
        except ValidationError:
            # The cause is left out, because it would quote the response and so the token.
            reason = "the response has no token; check AZURE_AUTHORITY_HOST"
            raise ExchangeError(leg, reason, correlation_id=request_id) from None
        refresh_on = int(asked_at) + answer.refresh_in if answer.refresh_in else None
        return AccessTokenInfo(
            answer.access_token, int(asked_at) + answer.expires_in, refresh_on=refresh_on
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()


def _refused(
    leg: Leg, response: httpx.Response, form: Mapping[str, str], request_id: str
) -> ExchangeError:
    status = response.status_code
    try:
        refusal = _Refusal.model_validate_json(response.content)
    except ValidationError:
        refusal = _Refusal()
    description = _harmless(refusal.error_description, form)
    named = _CODE_IN_PROSE.search(description)
    code = next(iter(refusal.error_codes), int(named[1]) if named else None)
    reason = f"Microsoft Entra answered {status}"
    if refusal.error:
        reason += f" {_harmless(refusal.error, form)}"
    if description:
        reason += f", {description.rstrip('.')}"
    elif code:
        reason += f", AADSTS{code}"
    return ExchangeError(
        leg,
        reason,
        aadsts=code,
        correlation_id=refusal.correlation_id or request_id,
        transient=status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING,
    )


def _harmless(text: str, form: Mapping[str, Any]) -> str:
    """The first line of Entra's error text, with everything that may be a credential removed."""
    line = text.partition("Trace ID")[0].strip().partition("\n")[0]
    for name in ("client_assertion", "client_secret"):
        if secret := form.get(name):
            line = line.replace(secret, "...")
    return _LONG_RUN.sub("...", line)[:MAX_DESCRIPTION_CHARS].strip()
