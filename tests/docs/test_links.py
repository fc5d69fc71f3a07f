"""What the pages name exists: files, folders, modules, links and the headings that they lead to."""

import importlib
import re
from pathlib import Path

import pytest

from local.services import ROOT

from .test_examples import PAGES

OUR_FOLDERS = sorted(p.name for p in ROOT.iterdir() if p.is_dir())
_FENCES = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_MADE_BY_COMMANDS = ("dist/",)


def prose(page: Path) -> str:
    return _FENCES.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    headings = [re.sub(r"[^\w\- ]", "", h).lower() for h in _HEADING.findall(prose(page))]
    return {heading.replace(" ", "-") for heading in headings}


def is_there(name: str) -> bool:
    """Whether a dotted name is a module or something in one."""
    module, _, rest = name.partition(".")
    found = importlib.import_module(module)
    for part in rest.split("."):
        try:
            found = importlib.import_module(f"{found.__name__}.{part}")
        except ModuleNotFoundError:
            return hasattr(found, part)
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_and_modules_that_a_page_names_exist(page: Path) -> None:
    folders = "|".join(map(re.escape, OUR_FOLDERS))
    named = [name for code in _CODE.findall(prose(page)) for name in code.split()]
    paths = [name for name in named if re.fullmatch(rf"(?:{folders})/[\w./-]*", name)]
    paths = [path for path in paths if not path.startswith(_MADE_BY_COMMANDS)]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    dotted = [n for n in named if re.fullmatch(r"(?:shared|local|infra|bench|tests)(\.\w+)+", n)]
    dotted = [name for name in dotted if not name.endswith(".json")]
    assert [name for name in dotted if not is_there(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
