"""The command `python -m local.host`."""

import argparse
import asyncio
import logging
import os
import resource
import sys
from pathlib import Path

from local.host.forwarding import SILENCE_SECONDS
from local.host.server import HostOptions, serve
from local.host.settings import (
    HostConfigurationError,
    apply_to_environment,
    read_host_settings,
    read_local_settings,
)

DEFAULT_PORT = 7071

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "information": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "none": logging.CRITICAL + 1,
}


def main() -> int:
    """Serve until a signal; return 0, or 2 after one line if the app cannot be served."""
    arguments = _parse_arguments()
    _raise_file_limit()
    app_dir: Path = arguments.app_dir.resolve()
    try:
        local = read_local_settings(app_dir / arguments.settings)
        apply_to_environment(local)
        settings = read_host_settings(app_dir / "host.json", os.environ)
        _configure_logging(settings.log_level)
        port = arguments.port or local.http_port or DEFAULT_PORT
        options = HostOptions(
            arguments.host,
            port,
            app_dir,
            arguments.grace,
            arguments.silence,
            creates_queues=arguments.create_queues,
        )
        asyncio.run(serve(options, local, settings))
    except HostConfigurationError as error:
        print(f"local host: {error}", file=sys.stderr)
        return 2
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.host", description=__doc__)
    parser.description = "Serve a Python v2 function app on this machine."
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port", type=int, help=f"port to listen on (Host.LocalHttpPort, else {DEFAULT_PORT})"
    )
    parser.add_argument(
        "--create-queues", action="store_true", help="create the queues that triggers listen to"
    )
    parser.add_argument(
        "--app-dir", type=Path, default=Path(), help="folder of host.json and function_app.py"
    )
    parser.add_argument(
        "--settings", default="local.settings.json", help="settings file, relative to the app"
    )
    parser.add_argument(
        "--grace", type=int, default=10, help="seconds that running invocations have at the end"
    )
    parser.add_argument(
        "--silence",
        type=float,
        default=SILENCE_SECONDS,
        help="seconds without a byte of a request or its answer, then the caller gets 504",
    )
    return parser.parse_args()


def _configure_logging(level: str) -> None:
    logging.basicConfig(
        level=_LEVELS.get(level.lower(), logging.INFO),
        format="%(asctime)s %(levelname)-7s %(message)s",
    )
    # The SDK logs every request with its headers at INFO, and uvicorn repeats the host's messages.
    for noisy in ("azure", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _raise_file_limit() -> None:
    """Raise the limit of open files to the system's maximum."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
