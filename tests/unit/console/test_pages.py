"""The files of the console."""

from __future__ import annotations

import hashlib
import re

import pytest

from shared.config import AuthMode
from shared.console.pages import STATIC, ConsolePages
from shared.http.static_files import StaticFolder
from tests.support.app_on_fakes import App
from tests.support.calling import assert_problem, caller

VENDORED = (STATIC / "vendor/VENDORED.md").read_text("utf-8")


def test_libraries_are_those_of_the_list_unchanged() -> None:
    listed = dict(re.findall(r"^\| `([\w.-]+)` \|.*\| `(\w{64})` \|$", VENDORED, re.MULTILINE))
    files = StaticFolder.read(STATIC / "vendor").files
    assert {n: hashlib.sha256(f.content).hexdigest() for n, f in files.items()} == listed


def test_no_file_of_our_own_has_scripts_or_styles_inline() -> None:
    page = (STATIC / "index.html").read_text("utf-8")
    assert not re.search(r"<style|<script>| style=| on\w+=", page)
    for path in STATIC.rglob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|dangerouslySet|\beval\(",
            path.read_text("utf-8"),
        ), path


@pytest.mark.parametrize("path", ["", "/app.js", "/vendor/marked-18.2.1.js"])
async def test_the_console_is_off_unless_it_is_chosen(path: str) -> None:
    app = App()
    async with caller(app.services()) as client:
        assert_problem(await client.get(f"http://app/console{path}"), 404, "not_found")
    await app.aclose()


def test_the_page_knows_how_people_sign_in() -> None:
    pages = ConsolePages.build(AuthMode.ENTRA, is_on=True)
    assert b'data-auth-mode="entra"' in pages.files.files["index.html"].content
