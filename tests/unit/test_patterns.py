"""Every regular expression of the product and its local tools, against text made to stall it.

What an expression may see is a caller's, a model's, a receiver's or a service's. Each that is found
in a module, or compiled while the modules are imported, must answer in a time that grows with the
text and not with its square.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import types
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import pytest

import local
import shared

ROOT = Path(__file__).parents[2]

LENGTH = 12_000
SECONDS_AT_MOST = 0.3
"""Of processor time. Linear expressions take a few milliseconds, quadratic ones seconds."""

NOT_IMPORTED = {"local.model.smollm2"}
"""Loads a language model's library."""

FILLINGS = (
    " ",
    "\n",
    "\t",
    "a",
    "A",
    "0",
    "-",
    ".",
    "}",
    "{",
    '"',
    "'",
    "%",
    ",",
    "_",
    "/",
    "\\",
    "ab",
    "a ",
    " a",
    "a.",
    "0.",
    "a,",
    "\\ud83d",
    "} ",
    "a-",
    "\u00e9",
    "```\n",
)


def _modules(package: types.ModuleType) -> Iterator[types.ModuleType]:
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if found.name not in NOT_IMPORTED and not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def _patterns() -> dict[str, re.Pattern[str] | re.Pattern[bytes]]:
    """Those that modules hold, by their place."""
    return {
        f"{module.__name__}.{name}": value
        for package in (shared, local)
        for module in _modules(package)
        for name, value in vars(module).items()
        if isinstance(value, re.Pattern)
    }


NOT_FROM_OUTSIDE = {
    "shared/routes.py": "templates of routes, whose parameters are `[^/]+` and cannot overlap",
    "local/host/routing.py": "the same",
    "shared/config/rules.py": "settings only, when the app starts",
}

PATTERNS = _patterns()


def _beginnings(pattern: str) -> list[str]:
    """What is literal in an expression, which text must hold to get into its depths."""
    literal = re.compile(r"[A-Za-z][A-Za-z ':=\"]{2,}")
    return ["", *set(literal.findall(pattern))]


def _texts(pattern: str) -> Iterator[str]:
    for beginning in _beginnings(pattern):
        for filling in FILLINGS:
            for end in ("!",) if beginning else ("", "!", "x"):
                yield beginning + filling * (LENGTH // len(filling)) + end
        if beginning:
            yield (beginning + " ") * (LENGTH // (len(beginning) + 1)) + "!"
            yield (beginning + "a") * (LENGTH // (len(beginning) + 1)) + "!"


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_an_expression_answers_in_linear_time(name: str) -> None:
    pattern = PATTERNS[name]
    text_of = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode()
    for text in _texts(text_of):  # `sub` searches, and goes on where it found something
        started = process_time()
        if isinstance(pattern.pattern, bytes):
            content = text.encode()
            pattern.fullmatch(content)  # type: ignore[arg-type]
            pattern.sub(b"", content)  # type: ignore[arg-type]
        else:
            pattern.fullmatch(text)  # type: ignore[arg-type]
            pattern.sub("", text)  # type: ignore[arg-type]
        taken = process_time() - started
        assert taken < SECONDS_AT_MOST, f"{taken:.1f} s for {text[:40]!r}..."


def test_every_expression_is_a_named_one() -> None:
    """One that is compiled in a function would not be found above."""
    hidden: list[str] = []
    for path in [
        *ROOT.glob("shared/**/*.py"),
        *ROOT.glob("local/**/*.py"),
        ROOT / "function_app.py",
    ]:
        source = path.read_text("utf-8")
        if "import re\n" not in source:
            continue
        for function in ast.walk(ast.parse(source)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                hidden += [f"{path.relative_to(ROOT)}:{c.lineno}" for c in _uses_of_re(function)]
    allowed = {place for place in hidden if place.partition(":")[0] in NOT_FROM_OUTSIDE}
    assert set(hidden) - allowed == set()


def _uses_of_re(function: ast.AST) -> Iterator[ast.Call]:
    for call in ast.walk(function):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        module = call.func.value
        if isinstance(module, ast.Name) and module.id == "re" and call.func.attr != "escape":
            yield call
