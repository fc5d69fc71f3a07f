"""What fails behind a queue or a timer reaches the host, and the log, without what was said."""

from __future__ import annotations

import logging
import re
import traceback
from pathlib import Path

import pytest

from shared.worker import TriggerFailedError, hide_error_text

SAID = "pear tree"
APP = (Path(__file__).parents[2] / "function_app.py").read_text()


@hide_error_text
async def run_lane(message: str) -> None:
    try:
        int(message)
    except ValueError as error:
        raise RuntimeError(message) from error


async def test_the_host_gets_an_error_without_its_text_and_causes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(TriggerFailedError) as caught, caplog.at_level(logging.ERROR):
        await run_lane(SAID)
    shown = "".join(traceback.format_exception(caught.value))
    assert str(caught.value) == "run_lane failed: RuntimeError"
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert SAID not in shown + caplog.text
    assert "ValueError" in caplog.text
    assert "test_triggers.py" in caplog.text


def test_every_queue_and_timer_is_behind_it() -> None:
    triggers = re.findall(r"^@app\.(?:queue|timer)_trigger\(.*\)\n(.*)\n", APP, re.MULTILINE)
    assert len(triggers) == 11
    assert set(triggers) == {"@hide_error_text"}
