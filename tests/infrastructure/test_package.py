"""The deployment package: what is in it, and that it runs with nothing beside it."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.scripts.package import build, packaged_files
from local.processes import Command, Service, answers_http, free_port
from local.services import IDENTITY_HEADER, Azurite, FoundryEmulator
from tests.support.environments import with_requirements

from .project import ROOT

HOST_LIBRARIES = ("cronsim",)
"""What the local host needs and the app does not."""

pytestmark = pytest.mark.timeout(400)  # the first run installs the packages

MAX_BYTES = 2_500_000
"""A megabyte of source and hashes of packages, and half of one for the page that shows the API
document; more means that something slipped in."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("package") / "app.zip"
    build(output)
    return output


@pytest.fixture(scope="module")
def python() -> Path:
    """An environment made from requirements.txt alone."""
    return with_requirements(Path(sys.executable))


def test_the_package_is_small_and_has_only_what_runs(package: Path) -> None:
    with zipfile.ZipFile(package) as opened:
        names = opened.namelist()
        size = sum(entry.file_size for entry in opened.infolist())
    assert names == packaged_files()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"function_app.py", "host.json", "requirements.txt", "shared"}
    assert size < MAX_BYTES


def test_the_same_files_make_the_same_package(package: Path, tmp_path: Path) -> None:
    build(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == package.read_bytes()


AGENTS_COMMAND = {
    "shared.commands.agents",
    *(f"shared.foundry.agents.{name}" for name in ("changes", "files", "yaml_text")),
}


def test_nothing_is_imported_that_is_not_in_the_package(
    package: Path, python: Path, tmp_path: Path
) -> None:
    """Every module imports but those of the agents command, which reads YAML where it is used."""
    app = _unpacked(package, tmp_path)
    modules = [p.relative_to(app).with_suffix("") for p in app.glob("shared/**/*.py")]
    names = [".".join(m.parts).removesuffix(".__init__") for m in modules]
    names = [name for name in names if name not in AGENTS_COMMAND]
    code = "import importlib\nfor name in " + repr(names) + ": importlib.import_module(name)"
    done = subprocess.run(  # noqa: S603 (a fixed command)
        [str(python), "-c", code], cwd=app, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


IMPORTED_LATER = {
    "azure.data.tables",
    "azure.storage.queue",
    "azure.identity",
    "azure.monitor",
    "opentelemetry.sdk",
    "requests",
    "docstring_parser",
    "aiohttp",  # loaded while the host prepares the first request
}
"""What the import of the app does not need, and would make each cold start longer."""


def test_a_process_starts_without_what_only_some_requests_need(
    package: Path, python: Path, tmp_path: Path
) -> None:
    app = _unpacked(package, tmp_path)
    code = f"import function_app, sys; print(sorted({IMPORTED_LATER!r} & sys.modules.keys()))"
    settings = {
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "FOUNDRY_AGENT_SERVICE_ENDPOINT": "https://acme.openai.azure.com",
        "FOUNDRY_AGENT_SERVICE_API_KEY": "k",
    }
    done = subprocess.run(  # noqa: S603 (a fixed command)
        [str(python), "-c", code], cwd=app, env=settings, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture
def app_url(
    package: Path, python: Path, azurite: Azurite, foundry: FoundryEmulator, tmp_path: Path
) -> Iterator[str]:
    """The unpacked app on the local host, both in the fresh environment.

    Beside it is put only what the host is made of, so that the checkout's `shared` is out of reach.
    """
    app = _unpacked(package, tmp_path)
    beside = tmp_path / "beside"
    shutil.copytree(ROOT / "local", beside / "local", ignore=shutil.ignore_patterns("node_modules"))
    for name in HOST_LIBRARIES:
        shutil.copytree(Path(importlib.import_module(name).__file__ or "").parent, beside / name)
    port = free_port()
    service = Service(
        Command(
            "packaged app",
            [str(python), "-m", "local.host", "--app-dir", str(app), "--port", str(port)],
            tmp_path / "app.log",
            lambda: answers_http(port, "/admin/host/status"),
            {
                "PYTHONPATH": str(beside),
                "PYTHON_ENABLE_INIT_INDEXING": "1",
                "AzureWebJobsStorage": azurite.connection_string,
                "FOUNDRY_AGENT_SERVICE_ENDPOINT": foundry.project_endpoint,
                "IDENTITY_ENDPOINT": foundry.token_endpoint,
                "IDENTITY_HEADER": IDENTITY_HEADER,
            },
            tmp_path,
        )
    )
    service.start()
    try:
        service.wait_until_ready()
        yield f"http://127.0.0.1:{port}/api"
    finally:
        service.stop()


def test_the_package_answers_from_a_fresh_environment(app_url: str, tmp_path: Path) -> None:
    with httpx.Client(base_url=app_url, timeout=60) as client:
        assert client.get("/health").status_code == 200
        answer = client.post("/messages", json={"message": "Hello"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    assert str(ROOT) not in (tmp_path / "app.log").read_text()


def _unpacked(package: Path, folder: Path) -> Path:
    app = folder / "app"
    with zipfile.ZipFile(package) as opened:
        opened.extractall(app)
    return app
