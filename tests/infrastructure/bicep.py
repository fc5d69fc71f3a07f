"""Reads Bicep files: their declarations, and where they do not parse.

tree-sitter-bicep gives a syntax tree that keeps apart what a literal is and what a name; pycep is
a second parser, of another grammar, that must agree that a file is well formed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

PYCEP_SECONDS = 60

_PARSER = Parser(Language(tree_sitter_bicep.language()))
_PYCEP = "import sys, pycep; pycep.BicepParser().parse(text=open(sys.argv[1]).read())"


@dataclass(frozen=True)
class Declaration:
    """One `param`, `var`, `resource`, `module` or `output`."""

    name: str
    node: Node
    decorators: dict[str, list[Node]]
    """The arguments of each decorator, by its name."""

    @property
    def type(self) -> str:
        """The declared type of a parameter or output."""
        return next((text(c) for c in self.node.children if c.type in _TYPES), "")

    @property
    def value(self) -> Node | None:
        """What stands right of the equals sign."""
        children = self.node.children
        signs = [index for index, child in enumerate(children) if child.type == "="]
        return children[signs[0] + 1] if signs else None

    @property
    def path(self) -> str:
        """The type of a resource or the file of a module."""
        return text(next(c for c in self.node.children if c.type == "string")).strip("'")

    @property
    def existing(self) -> bool:
        """Whether the resource is only referred to."""
        return any(child.type == "existing" for child in self.node.children)


_TYPES = {"type", "array_type", "nullable_type"}
_KINDS = {
    "parameter_declaration": "param",
    "variable_declaration": "var",
    "resource_declaration": "resource",
    "module_declaration": "module",
    "output_declaration": "output",
}


@dataclass
class Source:
    """One parsed file."""

    path: Path
    root: Node
    declarations: dict[str, dict[str, Declaration]] = field(default_factory=dict)
    """By kind, then by name."""

    @classmethod
    def read(cls, path: Path) -> Source:
        """Parse a file, as far as it can be parsed."""
        source = cls(path, _PARSER.parse(path.read_bytes()).root_node)
        source.declarations = {kind: {} for kind in _KINDS.values()}
        decorators: dict[str, list[Node]] = {}
        for node in source.root.children:
            if node.type == "decorators":
                decorators = dict(_decorator(child) for child in node.children)
            elif kind := _KINDS.get(node.type):
                name = text(next(c for c in node.children if c.type == "identifier"))
                source.declarations[kind][name] = Declaration(name, node, decorators)
                decorators = {}
        return source

    def errors(self) -> list[str]:
        """Where the file does not parse."""
        return [
            f"{self.path.name}:{node.start_point.row + 1}: {text(node)[:60]!r}"
            for node in walk(self.root)
            if node.is_error or node.is_missing
        ]

    def unused(self) -> list[str]:
        """Parameters and variables that nothing uses."""
        names = [text(node) for node in walk(self.root) if node.type == "identifier"]
        declared = [*self.declarations["param"], *self.declarations["var"]]
        return [f"{self.path.name}: {name}" for name in declared if names.count(name) < 2]


def text(node: Node) -> str:
    """The source text of a node."""
    return (node.text or b"").decode()


def walk(node: Node) -> Iterator[Node]:
    """A node and everything under it."""
    yield node
    for child in node.children:
        yield from walk(child)


def pycep_error(path: Path) -> str:
    """What pycep says against a file, or nothing; in a process of its own, because it can hang."""
    command = [sys.executable, "-c", _PYCEP, str(path)]
    try:
        done = subprocess.run(  # noqa: S603 (a fixed command)
            command, capture_output=True, text=True, timeout=PYCEP_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{path.name}: pycep is not done after {PYCEP_SECONDS} s"
    return "" if done.returncode == 0 else f"{path.name}: {done.stderr.strip().splitlines()[-1]}"


def _decorator(node: Node) -> tuple[str, list[Node]]:
    call = next(child for child in node.children if child.type == "call_expression")
    name, arguments = call.children
    return text(name), arguments.named_children
