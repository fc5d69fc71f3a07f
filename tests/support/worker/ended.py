"""A worker process that has answered one message and then waits to be ended.

Prints a line when it has; runs on the interpreter that has `requirements.txt` and nothing else.
"""

import asyncio
import sys

from .functions_host import WorkerHost


async def main(app_directory: str) -> None:
    """Index the app, answer a message, and wait."""
    host = await WorkerHost.start(app_directory)
    answer = await host.call("send_message", "POST api/messages", {"message": "Hello"})
    print("answered", answer.status_code, flush=True)  # noqa: T201 - for the test, which waits for it
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
