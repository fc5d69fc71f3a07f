"""Where the user's configuration is, and files that only the user can read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PRIVATE_FOLDER = 0o700


def config_folder() -> Path:
    """The folder of `aos` in the user's configuration folder."""
    if configured := os.environ.get("XDG_CONFIG_HOME"):
        return Path(configured) / "aos"
    if os.name == "nt" and (roaming := os.environ.get("APPDATA")):
        return Path(roaming) / "aos"
    return Path.home() / ".config" / "aos"


def write_private(path: Path, text: str) -> None:
    """Replace a file at once by one that only the user can read."""
    path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
