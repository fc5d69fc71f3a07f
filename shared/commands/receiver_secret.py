"""`python -m shared.commands.receiver_secret <host>`: print the secret of a receiver of callbacks.

It is derived from `CALLBACK_SECRET` in the environment; several secrets print one line each.
"""

from __future__ import annotations

import argparse
import sys

from ..config import CallbackSettings, SettingsError, names_in
from ..jobs.callbacks.webhooks import receiver_secret


def main(arguments: list[str] | None = None) -> int:
    """Print the secrets; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shared.commands.receiver_secret")
    parser.add_argument("host", help="the host that is called back, as in callback_url, no port")
    host = parser.parse_args(arguments).host
    try:
        secrets = names_in(CallbackSettings.from_env().callback_secret)
    except SettingsError as error:
        parser.error(str(error))
    if not secrets:
        parser.error("CALLBACK_SECRET is not set")
    for secret in secrets:
        print(receiver_secret(secret, host))  # noqa: T201 - what the command is for
    return 0


if __name__ == "__main__":
    sys.exit(main())
