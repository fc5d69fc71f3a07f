"""One compiler for all tests of this folder, and the project as it reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .compiler import HOW_TO_GET_ONE, REQUIRED, Bicep, find_bicep
from .project import Project, load


@pytest.fixture(scope="session")
def bicep() -> Iterator[Bicep]:
    """A running compiler; without one the test is skipped, or fails where one is required."""
    executable = find_bicep()
    if executable is None:
        assert not os.environ.get(REQUIRED), HOW_TO_GET_ONE
        pytest.skip(HOW_TO_GET_ONE)
    with Bicep(executable) as running:
        yield running


@pytest.fixture(scope="session")
def project(bicep: Bicep, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """This checkout."""
    return load(bicep, tmp_path_factory.mktemp("templates") / "infra")
