"""Which app a command talks to, and as whom: flags, then the environment, then the profile."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .errors import NotSignedInError, UsageError
from .profiles import KeyStore, Profile, Profiles, checked_name

LOCAL_URL = "http://localhost:7071"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
CLIENT_KEY_PREFIX = "aos_"
_KEY = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)


@dataclass(frozen=True)
class Chosen:
    """What the flags of a command say."""

    url: str | None = None
    key: str | None = field(default=None, repr=False)
    profile: str | None = None
    owner: str | None = None


@dataclass(frozen=True)
class Target:
    """An app and the credential for it."""

    url: str
    """The address without `/api`, and without a slash at the end."""
    key: str = field(repr=False)
    """Empty if there is none."""
    scope: str
    """Scope of the Microsoft Entra token to send in place of a key, or empty."""
    profile: str
    owner: str | None
    """The owner that an admin acts for."""
    key_from: str
    """Where the key is from, for people."""

    @classmethod
    def choose(cls, chosen: Chosen) -> Target:
        """Choose by the flags, the environment and the profile.

        Raises:
            UsageError: The address, the key or the profile is not valid.
        """
        name, profile = _profile(chosen.profile or os.environ.get("AOS_PROFILE"))
        given = chosen.url or os.environ.get("AOS_URL")
        url = checked_url(given) if given else (profile.url if profile else LOCAL_URL)
        is_of_profile = profile is not None and profile.url == url
        key, key_from = _key(chosen, name if is_of_profile else None)
        scope = profile.scope if profile and is_of_profile and not key else ""
        if key or scope:
            check_is_private(url)
        return cls(url, key, scope, name, chosen.owner, key_from or ("Entra" if scope else ""))

    def headers(self) -> dict[str, str]:
        """The headers that carry the credential."""
        if self.scope:
            return {"Authorization": f"Bearer {_token(self.scope)}"}
        if not self.key:
            return {}
        if is_bearer(self.key):
            return {"Authorization": f"Bearer {self.key}"}
        return {"x-functions-key": self.key}


def is_bearer(key: str) -> bool:
    """Whether a key is a client key or a token, and not a function key."""
    return key.startswith(CLIENT_KEY_PREFIX) or (key.startswith("eyJ") and key.count(".") == 2)


def checked_url(text: str) -> str:
    """The address of an app, without `/api`.

    Raises:
        UsageError: It is not one.
    """
    advice = f"Such as {LOCAL_URL} or https://<app>.azurewebsites.net"
    try:
        parts = urlsplit(text.strip())
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        raise UsageError("the URL is not valid", advice=advice) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not has_port:
        raise UsageError("the URL must begin with http:// or https://", advice=advice)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError("the URL must have no user, query or fragment", advice=advice)
    path = parts.path.rstrip("/").removesuffix("/api")
    return f"{parts.scheme}://{parts.netloc}{path}"


def checked_key(text: str) -> str:
    """A key that a header can carry.

    Raises:
        UsageError: It is not one; the message does not repeat it.
    """
    key = text.strip()
    if not _KEY.fullmatch(key):
        raise UsageError("the key has characters that no key has, or is empty or too long")
    return key


def is_local(url: str) -> bool:
    """Whether an address is of this machine."""
    return urlsplit(url).hostname in LOOPBACK


def check_is_private(url: str) -> None:
    """Refuse to send a key where others can read it.

    Raises:
        UsageError: The address is of another machine and not encrypted.
    """
    if urlsplit(url).scheme == "http" and not is_local(url):
        raise UsageError("a key is sent over https:// only", advice="Use the https:// address")


def _profile(asked: str | None) -> tuple[str, Profile | None]:
    profiles = Profiles.read()
    name = checked_name(asked) if asked else profiles.current
    profile = profiles.by_name.get(name)
    if asked and profile is None:
        known = ", ".join(sorted(profiles.by_name)) or "none"
        advice = f"Run: aos login --profile {name}"
        raise UsageError(f"there is no profile {name}; there are: {known}", advice=advice)
    return name, profile


def _key(chosen: Chosen, profile: str | None) -> tuple[str, str]:
    """A key and where it is from; one of a profile is sent to the address of that profile only."""
    if chosen.key:
        return checked_key(chosen.key), "--key"
    if key := os.environ.get("AOS_KEY"):
        return checked_key(key), "AOS_KEY"
    if profile is not None and (stored := KeyStore().get(profile)):
        return checked_key(stored), f"profile {profile}"
    return "", ""


def _token(scope: str) -> str:
    """A token of the user who is signed in to the Azure CLI."""
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import AzureCliCredential

    try:
        return AzureCliCredential().get_token(scope).token
    except ClientAuthenticationError as error:  # also where the Azure CLI is missing
        detail = str(error).partition("\n")[0]
        raise NotSignedInError(detail, advice=f"Run: az login --scope {scope}") from None
