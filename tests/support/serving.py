"""The app in one mode of access, with a function key as in Azure."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from local.services import FunctionsHost, HostLaunch, functions_host

from . import forking
from .callers import FUNCTION_KEY
from .leaks import copy_app
from .served import Deployment


@contextmanager
def serve(
    deployment: Deployment, folder: Path, settings: Mapping[str, str], *, talkative: bool = False
) -> Generator[FunctionsHost]:
    """Run the app on a host that asks for `FUNCTION_KEY` where the app's routes want a key."""
    app = copy_app(folder, talkative=talkative)
    local_settings = {"Host": {"FunctionKey": FUNCTION_KEY}, "Values": {}}
    (app / "local.settings.json").write_text(json.dumps(local_settings))
    launch = HostLaunch(
        app_dir=app, environment=deployment.environment(**settings), spawn=forking.spawn
    )
    with functions_host(folder, launch) as host:
        yield host
