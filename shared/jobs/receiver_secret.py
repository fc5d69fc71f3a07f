"""`python -m shared.jobs.receiver_secret <host>`: the secret that a receiver checks callbacks with.

It is read from `CALLBACK_SECRET` in the environment; of several secrets there, one line each.
"""

from __future__ import annotations

import argparse
import sys

from ..config import OutletSettings, SettingsError, names_in
from .webhooks import receiver_secret


def main(arguments: list[str] | None = None) -> int:
    """Print the secrets; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shared.jobs.receiver_secret")
    parser.add_argument("host", help="the host that is called back, as in callback_url, no port")
    host = parser.parse_args(arguments).host
    try:
        secrets = names_in(OutletSettings.from_env().callback_secret)
    except SettingsError as error:
        parser.error(str(error))
    if not secrets:
        parser.error("CALLBACK_SECRET is not set")
    for secret in secrets:
        print(receiver_secret(secret, host))  # noqa: T201 - what the command is for
    return 0


if __name__ == "__main__":
    sys.exit(main())
