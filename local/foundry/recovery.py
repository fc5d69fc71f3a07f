"""What a restart does to responses that were being made when the emulator died."""

from .store import Store


def end_interrupted(store: Store) -> None:
    """Give every response without a final status the status `failed`; its answer is lost."""
    for status in ("queued", "in_progress"):
        for row in store.all("responses", status=status):
            error = {"code": "server_error", "message": "The service was restarted."}
            body = {**row["body"], "status": "failed", "error": error}
            store.update("responses", {"id": row["id"]}, status="failed", body=body)
