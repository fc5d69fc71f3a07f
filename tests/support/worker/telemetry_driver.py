"""Makes requests of the app under the worker library, with its telemetry on.

Runs on the interpreter that has `requirements.txt` and nothing else, as in Azure.
"""

import asyncio
import json
import sys
import threading

from .functions_host import WorkerHost


async def main(app_directory: str, secret: str) -> list[int]:
    """Call some routes with a key and filters in the query; returns the statuses."""
    host = await WorkerHost.start(app_directory)
    for thread in threading.enumerate():
        if thread.name == "telemetry-start":
            await asyncio.to_thread(thread.join)
    query = f"?code={secret}&metadata.patient={secret}"
    try:
        made = await host.call(
            "create_thread", f"POST api/threads?code={secret}", {"metadata": {"patient": secret}}
        )
        thread_id: str = made.json()["thread_id"]
        path, params = f"api/threads/{thread_id}/messages", {"thread_id": thread_id}
        answers = [
            made,
            await host.call("list_threads", f"GET api/threads{query}"),
            await host.call(
                "send_thread_message",
                f"POST {path}?code={secret}",
                {"message": f"My secret is {secret}."},
                params,
            ),
            await host.call(
                "get_thread",
                f"GET api/threads/{secret}?code={secret}",
                params={"thread_id": secret},
            ),
        ]
        await host.app_module().aclose()
        return [answer.status_code for answer in answers]
    finally:
        await host.aclose()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))  # noqa: T201 - the driver's answer
