"""What every Python client is asked, and how it tells what came of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

BASE_URL = os.environ["BASE_URL"]
KEY = os.environ["KEY"]
WRONG_KEY = "aos_0000000000000000_wrong"
POOR_KEY = os.environ["POOR_KEY"]
"""Its budget is used up."""

Report = dict[str, object]

MODEL = "llama-3.3-70b"
UNKNOWN_MODEL = "no-such-model"

WORDS = "/words 5"
NAME, RECALL = "My name is Ada.", "What is my name?"
CALL = '/call weather {"city": "Bern"}'
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


def show(refused: Callable[[str, str], object], **used: Callable[[], Report]) -> None:
    """Print what came of the APIs that the command line names, and how requests were refused.

    `refused` asks with a key and a model; the others stream, call a tool and keep a conversation.
    """
    report = {api: used[api]() for api in sys.argv[1:]}
    refusals = {
        "wrong_key": _refusal(refused, WRONG_KEY, MODEL),
        "full_budget": _refusal(refused, POOR_KEY, MODEL),
        "unknown_model": _refusal(refused, KEY, UNKNOWN_MODEL),
    }
    print(json.dumps({**report, "refusals": refusals}))  # noqa: T201 - the result


def _refusal(ask: Callable[[str, str], object], key: str, model: str) -> str:
    try:
        return f"no error: {ask(key, model)}"
    except Exception as error:  # noqa: BLE001 - each client has its own
        return str(error)
