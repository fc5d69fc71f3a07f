"""Profiles: the apps that the user has signed in to, in `config.toml`, and their keys."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from .errors import UsageError
from .files import config_folder, write_private

DEFAULT_PROFILE = "default"
SERVICE = "aos"
"""The name under which the keyring has the keys."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Profile:
    """An app."""

    url: str
    """The address without `/api`."""
    scope: str = ""
    """Scope of the Microsoft Entra token to send; empty where a key is sent."""


@dataclass
class Profiles:
    """All profiles of the user, and which is used if none is named."""

    current: str = DEFAULT_PROFILE
    by_name: dict[str, Profile] = field(default_factory=dict[str, Profile])

    @classmethod
    def read(cls) -> Profiles:
        """Read the file; without one, there are none.

        Raises:
            UsageError: It is not as `write` leaves it.
        """
        path = _path()
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read: {type(error).__name__}") from None
        try:
            return cls._parse(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError):
            advice = f"Correct it, or delete it and run: {SERVICE} login"
            raise UsageError(f"{path} is not a configuration of aos", advice=advice) from None

    @classmethod
    def _parse(cls, document: dict[str, Any]) -> Profiles:
        rows = cast(dict[str, dict[str, str]], document.get("profiles", {}))
        profiles = {
            n: Profile(str(row["url"]), str(row.get("scope", ""))) for n, row in rows.items()
        }
        return cls(str(document.get("current", DEFAULT_PROFILE)), profiles)

    def write(self) -> None:
        """Replace the file."""
        lines = [f"current = {_quoted(self.current)}"]
        for name, profile in sorted(self.by_name.items()):
            lines += ["", f"[profiles.{name}]", f"url = {_quoted(profile.url)}"]
            if profile.scope:
                lines.append(f"scope = {_quoted(profile.scope)}")
        write_private(_path(), "\n".join(lines) + "\n")


def checked_name(name: str) -> str:
    """A name of a profile.

    Raises:
        UsageError: It is not one.
    """
    if not _NAME.fullmatch(name):
        raise UsageError("a profile's name has up to 64 letters, digits, - and _")
    return name


def _path() -> Path:
    return config_folder() / "config.toml"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


class KeyStore:
    """The keys of profiles: in the system's keyring where `keyring` is installed and works."""

    def get(self, profile: str) -> str | None:
        """The key of a profile."""
        return self._in_file().get(profile) or _from_keyring(profile)

    def put(self, profile: str, key: str) -> str:
        """Store a key; returns where it is."""
        self.delete(profile)
        if _to_keyring(profile, key):
            return "the keyring"
        self._write({**self._in_file(), profile: key})
        return str(_keys_path())

    def delete(self, profile: str) -> None:
        """Remove a key from wherever it is."""
        keys = self._in_file()
        if keys.pop(profile, None) is not None:
            self._write(keys)
        _remove_from_keyring(profile)

    def _in_file(self) -> dict[str, str]:
        path = _keys_path()
        try:
            return cast(dict[str, str], dict(json.loads(path.read_text(encoding="utf-8"))))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            detail = f"{path} cannot be read: {type(error).__name__}"
            raise UsageError(detail, advice="Delete it and run: aos login") from None

    def _write(self, keys: dict[str, str]) -> None:
        write_private(_keys_path(), json.dumps(keys, indent=1) + "\n")


def _keys_path() -> Path:
    return config_folder() / "keys.json"


def _keyring() -> Any | None:
    """The module, if it is installed and has somewhere to store a key."""
    try:
        import keyring  # pyright: ignore[reportMissingImports] - optional
    except ImportError:
        return None
    module = cast(Any, keyring)
    is_none = type(module.get_keyring()).__module__ == "keyring.backends.fail"
    return None if is_none else module


def _from_keyring(profile: str) -> str | None:
    ring = _keyring()
    if ring is None:
        return None
    try:
        return cast(str | None, ring.get_password(SERVICE, profile))
    except ring.errors.KeyringError:
        return None


def _to_keyring(profile: str, key: str) -> bool:
    ring = _keyring()
    if ring is None:
        return False
    try:
        ring.set_password(SERVICE, profile, key)
    except ring.errors.KeyringError:  # such as a locked one, without a desktop to unlock it
        return False
    return True


def _remove_from_keyring(profile: str) -> None:
    ring = _keyring()
    if ring is None:
        return
    try:
        ring.delete_password(SERVICE, profile)
    except ring.errors.KeyringError:
        return
