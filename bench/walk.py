"""How many functions of the app one request enters, in how many files.

`python -m bench.walk` makes each request twice through the app's own handlers, on a table in memory
and against a local upstream, and counts the second one: what is made once per process is not
counted. `--list` names the functions.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from local.services import ROOT

from .client import MESSAGE
from .turns import App, request
from .upstream import upstream

SHARED = str(ROOT / "shared")


async def walked(ask: Callable[[], Awaitable[object]]) -> set[CodeType]:
    """The functions of the app that a request enters."""
    entered: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(SHARED) and code.co_name[0] != "<":
            entered.add(code)

    await ask()
    sys.setprofile(note)
    try:
        await ask()
        await asyncio.sleep(0.05)  # work that continues in the background
    finally:
        sys.setprofile(None)
    return entered


async def report(name: str, ask: Callable[[], Awaitable[object]]) -> None:
    """Print one row."""
    entered = await walked(ask)
    files = {code.co_filename for code in entered}
    print(f"{name:32} {len(entered):4} functions in {len(files):3} files")
    if "--list" in sys.argv:
        for code in sorted(entered, key=lambda code: (code.co_filename, code.co_firstlineno)):
            print(f"  {Path(code.co_filename).relative_to(SHARED)}: {code.co_qualname}")


async def main() -> None:
    """Print all rows."""
    with upstream(delay=0.0) as url:
        app = App(url)
        await app.open_threads()
        await report("POST /api/messages", lambda: app.message(0))
        await report("POST /api/threads/{}/messages", lambda: app.on_thread(0))
        await report("POST /api/messages, streamed", lambda: app.first_delta(0))
        orchestrated = {"user_input": MESSAGE, "conversation_id": "walk"}
        await report(
            "POST /api/orchestrate",
            lambda: app.answered("orchestrate_message", request(orchestrated)),
        )
        await app.services.aclose()


if __name__ == "__main__":
    asyncio.run(main())
