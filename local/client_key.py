"""The client key that `make run` shows: made once, kept in the state folder."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from local.processes import ServiceError
from local.services import ROOT

MODES = {"function", "both", "keys", ""}
"""The modes of access in which the app takes client keys; the default is one of them."""

COMMAND_SECONDS = 60
ANSWER_SECONDS = 30


def kept_key(file: Path, app_url: str, environment: Mapping[str, str]) -> str:
    """The key in a file, or a new one where there is none that the app takes."""
    if file.exists():
        key = file.read_text(encoding="ascii").strip()
        if _is_taken(key, app_url):
            return key
    key = _new_key(environment)
    file.touch(mode=0o600)
    file.write_text(key + "\n", encoding="ascii")
    return key


def _new_key(environment: Mapping[str, str]) -> str:
    """Make a key with the app's own command, which has the app's settings."""
    arguments = ("create", "--label", "make run", "--admin")
    done = subprocess.run(
        [sys.executable, "-m", "shared.commands.keys", *arguments],
        cwd=ROOT,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if done.returncode:
        raise ServiceError(f"No client key could be made: {done.stderr.strip()}")
    return done.stdout.strip()


def _is_taken(key: str, app_url: str) -> bool:
    """Whether the app takes a key; its storage may have been emptied since it was made."""
    request = urllib.request.Request(  # noqa: S310 - the address of the app on this machine
        f"{app_url}/api/me", headers={"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):  # noqa: S310 - as above
            return True
    except urllib.error.HTTPError:
        return False
