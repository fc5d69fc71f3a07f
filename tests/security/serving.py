"""The app in one mode of access, with a function key as in Azure."""

import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from local.services import ROOT, FunctionsHost, HostLaunch, functions_host
from tests.e2e.served import Deployment

from .callers import FUNCTION_KEY

TALKATIVE = """
import logging

for name in ("", "azure", "uvicorn"):
    logging.getLogger(name).setLevel(logging.DEBUG)
"""
"""In front of the app, lets every library log all it has to say."""


@contextmanager
def serve(
    deployment: Deployment, folder: Path, settings: Mapping[str, str], *, talkative: bool = False
) -> Generator[FunctionsHost]:
    """Run the app on a host that asks for `FUNCTION_KEY` where the app's routes want a key."""
    app = folder / "app"
    app.mkdir(parents=True)
    shutil.copy(ROOT / "host.json", app / "host.json")
    script = (ROOT / "function_app.py").read_text()
    if talkative:
        script = script.replace("\nSTORAGE =", f"{TALKATIVE}\nSTORAGE =", 1)
        assert TALKATIVE in script
    (app / "function_app.py").write_text(script)
    local_settings = {"Host": {"FunctionKey": FUNCTION_KEY}, "Values": {}}
    (app / "local.settings.json").write_text(json.dumps(local_settings))
    launch = HostLaunch(app_dir=app, environment=deployment.environment(**settings))
    with functions_host(folder, launch) as host:
        yield host
