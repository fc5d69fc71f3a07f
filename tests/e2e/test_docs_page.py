"""The page of the API document in a real browser: nothing is blocked, and requests can be tried."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from local.services import FunctionsHost
from tests.support.environments import API_TOOLS, api_tools, run

CHROMIUM = shutil.which("chromium")

pytestmark = pytest.mark.timeout(600)  # the first run installs the packages


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: `apt-get install chromium`")
def test_a_message_is_sent_from_the_page(app: FunctionsHost, tmp_path: Path) -> None:
    screenshot = tmp_path / "docs-page.png"
    browse = (api_tools() / "python", API_TOOLS / "browse.py", app.url, str(CHROMIUM), screenshot)
    done = run(*browse)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["errors"], seen["violations"], seen["elsewhere"]) == ([], [], [])
    assert '"content": "You said: Hello from the page"' in seen["answer"]
    assert seen["keys"] == ["a-key"]
    assert screenshot.stat().st_size > 10_000
