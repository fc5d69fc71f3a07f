"""The Foundry emulator, watched for two requests on one conversation at once.

    python -m tests.torture.watched_foundry PORT

`GET /_watch` answers `{"turns": N, "two_at_once": N}`. A request is under way from its arrival
until its answer has left or its connection is cut.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local.foundry.app import create_app
from local.foundry.cut import CuttableProtocol
from local.foundry.settings import from_environment


class Watch:
    """Middleware that counts turns, and conversations with two of them at once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way: Counter[str] = Counter()
        self.turns = 0
        self.two_at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/_watch":
            figures = {"turns": self.turns, "two_at_once": self.two_at_once}
            await JSONResponse(figures)(scope, receive, send)
        elif scope.get("method") == "POST" and scope["path"].endswith("/responses"):
            await self._turn(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        messages, conversation = await _read(receive)
        self.turns += 1
        if conversation is None:
            await self._app(scope, _replaying(messages, receive), send)
            return
        self._under_way[conversation] += 1
        self.two_at_once += self._under_way[conversation] > 1
        try:
            await self._app(scope, _replaying(messages, receive), send)
        finally:
            self._under_way[conversation] -= 1


async def _read(receive: Receive) -> tuple[list[Message], str | None]:
    """The messages of a request's body, and the conversation it names."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    body: Any = json.loads(b"".join(m.get("body", b"") for m in messages) or b"{}")
    return messages, body.get("conversation")


def _replaying(messages: list[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def replay() -> Message:
        return next(waiting, None) or await receive()

    return replay


def main() -> None:
    """Serve on the port that the command line names."""
    app = Watch(create_app(from_environment("local", None)))
    uvicorn.run(app, port=int(sys.argv[1]), http=CuttableProtocol, ws="none", log_level="warning")


if __name__ == "__main__":
    main()
