"""Uses a client that was generated from the API document; prints what came of it."""

import json
import sys

from aos_client import Client
from aos_client.api.jobs import get_job, submit_job
from aos_client.api.threads import create_thread, send_thread_message
from aos_client.models import CreateThread, SendMessage, SubmitJob
from aos_client.types import Response


def main(url: str) -> dict[str, object]:
    """Create a thread, send a message, and submit a job and wait for it."""
    client = Client(base_url=url, raise_on_unexpected_status=True)
    thread = create_thread.sync(client=client, body=CreateThread())
    said = SendMessage(message="My name is Ada.")
    first: Response = send_thread_message.sync_detailed(
        thread.thread_id, client=client, body=said, idempotency_key="the-first"
    )
    again = send_thread_message.sync_detailed(
        thread.thread_id, client=client, body=said, idempotency_key="the-first"
    )
    job = submit_job.sync(
        client=client, body=SubmitJob(message="What is my name?", thread_id=thread.thread_id)
    )
    while job.status in {"queued", "running"}:
        job = get_job.sync(job.job_id, client=client, wait=10)
    unknown = get_job.sync("job_01HZZZZZZZZZZZZZZZZZZZZZZZ", client=client)
    return {
        "first": first.parsed.content,
        "replayed": again.headers.get("idempotency-replayed"),
        "job": job.result.content,
        "unknown": [str(unknown.code), unknown.status],
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))  # noqa: T201 - the result
