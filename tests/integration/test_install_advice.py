"""What a newcomer reads when an install cannot start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.install import ROOT
from local.node import NodeNotFoundError, find_node


def bootstrap(
    checkout: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 (a fixed command)
        [sys.executable, "-m", "local.bootstrap", *arguments],
        cwd=checkout,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The installer alone, in a folder with nothing installed."""
    for folder in ("local/azurite", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    for file in [*(ROOT / "local").glob("*.py"), *(ROOT / "local" / "azurite").glob("*.*")]:
        (tmp_path / file.relative_to(ROOT)).write_bytes(file.read_bytes())
    (tmp_path / "local" / "requirements.txt").write_text("no-such-package==1\n")
    (tmp_path / "local" / "weights.txt").write_text("")
    return tmp_path


def test_without_a_network_there_is_one_line_and_a_later_run_goes_on(checkout: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0"}
    for _ in range(2):
        done = bootstrap(checkout, "run", **nowhere)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "registry cannot be reached" in done.stderr


def test_a_folder_that_cannot_be_written_is_one_line(checkout: Path) -> None:
    (checkout / ".local").write_text("a file where the folder should be")
    done = bootstrap(checkout, "run")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_system_without_node_uses_the_one_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NodeNotFoundError):
        find_node(tmp_path)
    node = find_node(Path(sys.prefix))
    assert Path(node.executable).is_relative_to(sys.prefix)
    version = subprocess.run(  # noqa: S603 (the command under test)
        [*node.npm, "--version"], capture_output=True, text=True, check=True
    )
    assert int(version.stdout.split(".")[0]) >= 10
