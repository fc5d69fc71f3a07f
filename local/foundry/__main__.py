"""Run the emulator: `python -m local.foundry --port 7072`."""

import argparse
import asyncio
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from local.listening import listen
from local.model import LanguageModel, ModelError, open_model

from .app import create_app
from .cut import CuttableProtocol
from .settings import EmulatorSettings, from_environment
from .store import Store

BACKLOG = 2048
SHUTDOWN_SECONDS = 2
KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep idle connections, so that none is closed while a client reuses it."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = from_environment(options.project, options.state)
        with _listen(options.host, options.port) as listener:
            asyncio.run(_serve(listener, settings, options.log_level))
    except (ValueError, OSError, ModelError) as error:
        print(f"foundry emulator: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.foundry",
        description="Emulate a Foundry project endpoint and the resource endpoint beside it.",
        epilog="FOUNDRY_LOCAL_BACKEND chooses the model: smollm2 (default), scripted, or the URL "
        "of an OpenAI-compatible server (with FOUNDRY_LOCAL_BACKEND_MODEL and _API_KEY).",
    )
    parser.add_argument("--port", type=int, default=7072, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--state", type=Path, help="SQLite file; in memory when not given")
    parser.add_argument("--project", default="local", help="the project's name in its URL")
    levels = ["critical", "error", "warning", "info", "debug"]
    parser.add_argument("--log-level", choices=levels, default="warning")
    return parser


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port, BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error


class _Server(uvicorn.Server):
    """A server that prints a line when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._ready, flush=True)


async def _serve(listener: socket.socket, settings: EmulatorSettings, log_level: str) -> None:
    """Open the state and the model first, so that their errors are one line, and serve."""
    Store(settings.state_path).close()
    model = await open_model(settings.backend)
    try:
        await _server(listener, settings, model, log_level).serve(sockets=[listener])
    finally:
        await model.aclose()


def _server(
    listener: socket.socket, settings: EmulatorSettings, model: LanguageModel, log_level: str
) -> _Server:
    host, port = listener.getsockname()[:2]
    address = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        create_app(settings, model),
        http=CuttableProtocol,
        ws="none",
        lifespan="on",
        log_level=log_level,
        access_log=log_level in {"info", "debug"},
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        backlog=BACKLOG,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn stops on these signals and raises them again, which would give a wrong exit code
        signal.signal(number, _ignore)
    url = f"http://{address}:{port}/api/projects/{settings.project}"
    return _Server(config, f"Foundry emulator ready: {url} (model: {model.name})")


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Ignore a signal."""


if __name__ == "__main__":
    sys.exit(main())
