"""The page about the web console: its files with their sizes, its screens, its pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from local.services import ROOT
from shared.console.pages import STATIC
from shared.http.static_files import StaticFolder

PAGE = (ROOT / "docs" / "console.md").read_text("utf-8")
PICTURES = sorted((ROOT / "docs" / "console").glob("*.png"))
MAX_PICTURE_BYTES = 150_000
KB = 1_000
SPARE_KB = 3
"""A file may grow a little before its line is changed."""


def test_each_file_is_listed_with_its_size() -> None:
    listed = dict(re.findall(r"^\| `([\w./-]+)` \| (\d+) \|$", PAGE, re.MULTILINE))
    served = StaticFolder.read(STATIC).files
    assert listed.keys() == served.keys()
    for name, file in served.items():
        size, most = len(file.compressed) / KB, int(listed[name])
        assert most - SPARE_KB < size <= most, (name, size)


def test_each_screen_is_listed_with_its_address() -> None:
    screens = re.findall(
        r"^  (\w+): \{ title: \"(\w+)\"", (STATIC / "app.js").read_text(), re.MULTILINE
    )
    listed = re.findall(r"^\| (\w+) \| `/console#/(\w+)` \|", PAGE, re.MULTILINE)
    assert listed == [(title, name) for name, title in screens]


def test_each_picture_is_shown_and_no_other() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(console/([\w-]+\.png)\)", PAGE)
    assert sorted(shown) == [path.name for path in PICTURES]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_pictures_are_small(picture: Path) -> None:
    assert 5_000 < picture.stat().st_size < MAX_PICTURE_BYTES
