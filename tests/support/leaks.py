"""Secrets of the end-to-end tests, and the search for them in all that the app leaves behind."""

import re
import shutil
from pathlib import Path

import httpx

from local.azurite import ACCOUNT_KEY
from local.services import ROOT
from shared.state.key_text import KEY_ID, KEY_PREFIX

MARK = "mArKeD"
CALLERS_SECRETS = {
    "authorization": f"Bearer {MARK}-token-of-the-caller",
    "x-functions-key": f"{MARK}-function-key",
}
"""What every caller sends along."""

_SECRET = re.compile(
    rf"{MARK}|{re.escape(ACCOUNT_KEY)}|SharedKey \w+:[A-Za-z0-9+/]|eyJ[A-Za-z0-9_-]{{8,}}\.eyJ"
    rf"|{KEY_PREFIX}{KEY_ID}_[0-9A-Za-z]{{10}}"
)
"""Marked ones, the storage account's key, what is signed with it, tokens of an identity, and client
keys."""

_EVERYTHING = """
import logging

for name in ("", "azure", "uvicorn"):
    logging.getLogger(name).setLevel(logging.DEBUG)
logging.getLogger("azure.data").debug("every library logs all it has to say")
"""
"""In front of the app, lets every library log all it has to say; the line is there if it does."""


def copy_app(folder: Path, *, talkative: bool) -> Path:
    """Copy the app's entry into a folder below; a talkative copy logs all that can be logged."""
    app = folder / "app"
    app.mkdir(parents=True)
    shutil.copy(ROOT / "host.json", app)
    script = (ROOT / "function_app.py").read_text()
    if talkative:
        script = script.replace("\nSTORAGE =", f"{_EVERYTHING}\nSTORAGE =", 1)
        assert _EVERYTHING in script
    (app / "function_app.py").write_text(script)
    return app


def leaks(text: str) -> list[str]:
    """Each secret in a text, with what stands before it."""
    return [text[max(0, match.start() - 200) : match.end()] for match in _SECRET.finditer(text)]


async def check_answer(answer: httpx.Response) -> None:
    """A response hook: no answer holds a secret, but for the one that shows a new client key.

    Streams are not read here.
    """
    said = repr(answer.headers.raw)
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        await answer.aread()
        said += answer.text
    shows_key = answer.request.method == "POST" and answer.request.url.path == "/api/keys"
    assert len(leaks(said)) <= (1 if shows_key else 0), leaks(said)
