"""The pictures of the house are true to its folders, import contract, imports and Makefile."""

import re
import tomllib
from collections.abc import Iterator

import grimp
import pytest
import yaml

from local.services import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
HOUSE, TURN = re.findall(r"```mermaid\n(.*?)```", PAGE, re.DOTALL)
ARROWS = re.findall(r"^ *(\w+) --> (\w+)$", HOUSE, re.MULTILINE)
ENTRY = "function_app"
"""Stands above the rooms and is no part of `shared`."""


def drawn() -> list[str]:
    """The rooms of the picture."""
    nodes = re.findall(r'^ *(\w+)\["([^"]+)"\]$', HOUSE, re.MULTILINE)
    return [name for name, _ in nodes if name != ENTRY]


def levels() -> dict[str, int]:
    """The rooms of the import contract, and how far each is from the top."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    house = project["tool"]["importlinter"]["contracts"][0]
    rows = [re.split(r" *[|:] *", row) for row in house["layers"]]
    return {room: level for level, row in enumerate(rows) for room in row}


@pytest.fixture(scope="module")
def imports() -> set[tuple[str, str]]:
    """Which room imports which, at any depth of folders."""
    graph = grimp.build_graph("shared", cache_dir=None)

    def between() -> Iterator[tuple[str, str]]:
        for module in graph.modules:
            for imported in graph.find_modules_directly_imported_by(module):
                yield room_of(module), room_of(imported)

    return {*between(), *((ENTRY, room) for room in rooms_of_the_entry())}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def rooms_of_the_entry() -> set[str]:
    source = (ROOT / f"{ENTRY}.py").read_text(encoding="utf-8")
    return set(re.findall(r"^(?:from|import) shared\.(\w+)", source, re.MULTILINE))


def test_the_picture_has_every_room_of_the_folder_and_of_the_contract() -> None:
    rooms = {p.stem for p in (ROOT / "shared").iterdir() if not p.name.startswith("_")}
    assert sorted(drawn()) == sorted(rooms)
    assert rooms == levels().keys()


def test_the_guide_for_contributors_has_every_room() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert {*re.findall(r"`shared/(\w+)(?:/|\.py)`", guide)} == levels().keys()


def test_the_hooks_are_commands_of_the_makefile() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (local,) = yaml.safe_load(hooks)["repos"]
    commands = [hook["entry"].split() for hook in local["hooks"]]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert [c for c in commands if c[0] != "make" or not targets.issuperset(c[1:])] == []


def test_every_arrow_is_an_import_and_leads_down(imports: set[tuple[str, str]]) -> None:
    assert [arrow for arrow in ARROWS if arrow not in imports] == []
    below = levels()
    assert [a for a in ARROWS if a[0] != ENTRY and below[a[0]] >= below[a[1]]] == []
    assert set(drawn()) == {room for arrow in ARROWS for room in arrow} - {ENTRY}


def test_a_turn_goes_through_its_stages_and_calls_rooms_that_turns_imports(
    imports: set[tuple[str, str]],
) -> None:
    stages = re.findall(r"Note over [\w,]+: (\w+)", TURN)
    assert stages == ["admit", "lease", "answer", "commit"]
    called = set(re.findall(r"turns->>(\w+):", TURN))
    assert {room for room in called if ("turns", room) not in imports} == set()
