"""`aos login`, `logout` and `whoami`: which app, and as whom."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Annotated

import typer

from .api import Api
from .commands import Session, command, new_app
from .errors import NotSignedInError, UsageError
from .output import Column, at
from .profiles import KeyStore, Profile, Profiles, checked_name
from .target import LOCAL_URL, Target, check_is_private, checked_key, checked_url

login = new_app("Store the address and the key of an app.")
logout = new_app("Forget the key of an app.")
whoami = new_app("Show who you are, and which app this is.")

COLUMNS = (
    at("url"),
    at("profile"),
    at("key_from", "key from"),
    at("owner"),
    at("actor"),
    at("how", "authenticated by"),
    at("roles"),
    at("departments"),
    Column("requests left", lambda me: at("limits.requests.left").value(me)),
)


@command(login, "login")
def sign_in(
    session: Session,
    entra: Annotated[
        str | None,
        typer.Option(
            metavar="SCOPE",
            help="Send tokens of the user of the Azure CLI, such as api://<app>/.default.",
        ),
    ] = None,
) -> None:
    """Store the address (--url) and the key of an app, and use it from now on.

    The key is asked for, or read from a pipe. It is checked first, and stored in the keyring or in
    a file that only you can read.
    """
    chosen = session.chosen
    profiles = Profiles.read()
    name = checked_name(chosen.profile or os.environ.get("AOS_PROFILE") or profiles.current)
    known = profiles.by_name.get(name)
    given = chosen.url or os.environ.get("AOS_URL")
    url = checked_url(given) if given else known.url if known else LOCAL_URL
    check_is_private(url)
    key = "" if entra else checked_key(chosen.key or os.environ.get("AOS_KEY") or _asked_key(url))
    api = Api(Target(url, key, entra or "", name, None, ""))
    try:
        me = api.get("me")
    finally:
        api.close()
    profiles.by_name[name] = Profile(url, entra or "")
    profiles.current = name
    profiles.write()
    store = KeyStore()
    where = "the Azure CLI" if entra else store.put(name, key)
    if entra:
        store.delete(name)
    shown = {"url": url, "profile": name, "key_from": where, **me}
    session.output.document(shown, COLUMNS)


@command(logout, "logout")
def sign_out(session: Session) -> None:
    """Forget the key of a profile, and the profile."""
    profiles = Profiles.read()
    name = checked_name(session.chosen.profile or os.environ.get("AOS_PROFILE") or profiles.current)
    if profiles.by_name.pop(name, None) is None:
        raise NotSignedInError(f"there is no profile {name}")
    KeyStore().delete(name)
    if profiles.current == name:
        profiles.current = next(iter(sorted(profiles.by_name)), "default")
    profiles.write()
    session.output.note(f"profile {name} is removed")


@command(whoami, "whoami")
def who(session: Session) -> None:
    """Show the app, the owner, the roles and what is left of the limits."""
    target = session.target
    me = session.api.get("me")
    shown = {"url": target.url, "profile": target.profile, "key_from": target.key_from, **me}
    session.output.document(shown, COLUMNS)


def _asked_key(url: str) -> str:
    """The key from a terminal, which does not show it, or from a pipe."""
    if sys.stdin.isatty():
        try:
            return getpass.getpass(f"Key for {url}: ")
        except EOFError:
            raise UsageError("there is no key") from None
    return sys.stdin.readline()
