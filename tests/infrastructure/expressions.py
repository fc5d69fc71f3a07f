"""Evaluates Bicep expressions: the part of the language that the templates use, and no more.

tree-sitter-bicep finds the operands and operators of an expression, but not which binds tighter
(it reads `a == b.c` as `(a == b).c`), so the nodes are put in order again before they are used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tree_sitter import Node

from .bicep import text
from .functions import FUNCTIONS

Local = Mapping[str, Any]
Evaluated = Callable[[Local], Any]

_BINARY: list[dict[str, Callable[[Any, Any], Any]]] = [
    {"||": lambda a, b: a or b},
    {"&&": lambda a, b: a and b},
    {"==": lambda a, b: a == b, "!=": lambda a, b: a != b},
    {">": lambda a, b: a > b, "<": lambda a, b: a < b},
]
"""The operators, those that bind least first."""


class EvaluationError(Exception):
    """The template cannot be deployed; the message says what is wrong where."""


class RunTime(str):
    """A value that is known only once resources exist."""

    __slots__ = ()

    @classmethod
    def of(cls, what: str) -> RunTime:
        """Name a value."""
        return cls(f"«{what}»")

    def member(self, name: str) -> RunTime:
        """Name a part of the value."""
        return RunTime.of(f"{self.strip('«»')}.{name}")


def is_run_time(value: object) -> bool:
    """Whether a text is, or is made of, a value known only at run time."""
    return isinstance(value, str) and "«" in value


class Expressions:
    """Evaluates the expressions of one file."""

    def __init__(self, path: Path, lookup: Callable[[str], Any]) -> None:
        self._path = path
        self._lookup = lookup

    def evaluate(self, node: Node, local: Local | None = None) -> Any:
        """The value of an expression."""
        return self._compile(node)(local or {})

    def loop(self, node: Node, local: Local | None = None) -> list[Any]:
        """The values of `[for x in y: z]`."""
        variables, over, body = (c for c in node.named_children if c.type != "comment")
        names = [text(child) for child in variables.named_children] or [text(variables)]
        return [
            self.evaluate(body, {**(local or {}), **dict(zip(names, (value, i), strict=False))})
            for i, value in enumerate(self.evaluate(over, local))
        ]

    # ---- which operand belongs to which operator ------------------------------------------------

    def _compile(self, node: Node) -> Evaluated:
        tokens = _flatten(node)
        evaluated = self._expression(tokens)
        if tokens:
            raise self._error(f"{text(node)[:60]} is not understood")
        return evaluated

    def _expression(self, tokens: list[Any]) -> Evaluated:
        if len(tokens) > 1 and tokens[1] == "=>":
            variable = text(tokens.pop(0))
            tokens.pop(0)
            body = self._expression(tokens)
            return lambda local: lambda value: body({**local, variable: value})
        condition = self._binary(tokens, 0)
        if not tokens or tokens[0] != "?":
            return condition
        tokens.pop(0)
        yes = self._expression(tokens)
        tokens.pop(0)
        no = self._expression(tokens)
        return lambda local: yes(local) if condition(local) else no(local)

    def _binary(self, tokens: list[Any], level: int) -> Evaluated:
        if level == len(_BINARY):
            return self._unary(tokens)
        left = self._binary(tokens, level + 1)
        while tokens and isinstance(tokens[0], str) and tokens[0] in _BINARY[level]:
            operator = tokens.pop(0)
            left = self._apply(operator, level, left, self._binary(tokens, level + 1))
        return left

    def _apply(self, operator: str, level: int, left: Evaluated, right: Evaluated) -> Evaluated:
        if operator == "&&":
            return lambda local: left(local) and right(local)
        if operator == "||":
            return lambda local: left(local) or right(local)
        function = _BINARY[level][operator]
        return lambda local: function(left(local), right(local))

    def _unary(self, tokens: list[Any]) -> Evaluated:
        if tokens[0] == "!":
            tokens.pop(0)
            operand = self._unary(tokens)
            return lambda local: not operand(local)
        value = self._atom(tokens.pop(0))
        while tokens and tokens[0] in (".", "["):
            kind, operand = tokens.pop(0), tokens.pop(0)
            value = self._part(kind, value, operand)
        return value

    def _part(self, kind: str, base: Evaluated, operand: Node) -> Evaluated:
        if kind == ".":
            return lambda local: self._member(base(local), text(operand))
        index = self._compile(operand)
        return lambda local: self._member(base(local), index(local))

    # ---- what stands between the operators -------------------------------------------------------

    def _atom(self, node: Node) -> Evaluated:
        handler = getattr(self, f"_on_{node.type}", None)
        if handler is None:
            raise self._error(f"{node.type} is not understood: {text(node)[:60]}")
        return lambda local: handler(node, local)

    def _on_number(self, node: Node, _: Local) -> int:
        return int(text(node))

    def _on_boolean(self, node: Node, _: Local) -> bool:
        return text(node) == "true"

    def _on_null(self, _: Node, __: Local) -> None:
        return None

    def _on_parenthesized_expression(self, node: Node, local: Local) -> Any:
        return self.evaluate(node.named_children[0], local)

    def _on_identifier(self, node: Node, local: Local) -> Any:
        name = text(node)
        return local[name] if name in local else self._lookup(name)

    def _on_string(self, node: Node, local: Local) -> str:
        parts: list[str] = []
        for child in node.named_children:
            if child.type == "interpolation":
                parts.append(str(self.evaluate(child.named_children[0], local)))
            else:
                parts.append(text(child).removeprefix("\\" if "escape" in child.type else ""))
        joined = "".join(parts)
        return RunTime(joined) if is_run_time(joined) else joined

    def _on_object(self, node: Node, local: Local) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for child in node.named_children:
            if child.type == "object_property":
                key, value = child.named_children[0], child.named_children[-1]
                name = text(key) if key.type == "identifier" else self.evaluate(key, local)
                result[name] = self.evaluate(value, local)
        return result

    def _on_array(self, node: Node, local: Local) -> list[Any]:
        return [self.evaluate(c, local) for c in node.named_children if c.type != "comment"]

    def _on_for_statement(self, node: Node, local: Local) -> list[Any]:
        return self.loop(node, local)

    def _on_call_expression(self, node: Node, local: Local) -> Any:
        name, arguments = text(node.named_children[0]), node.named_children[1].named_children
        values = [self.evaluate(argument, local) for argument in arguments]
        if name in {"loadTextContent", "loadJsonContent"}:
            content = (self._path.parent / values[0]).read_text()
            return json.loads(content) if name == "loadJsonContent" else content
        if name not in FUNCTIONS:
            raise self._error(f"the function {name} is not known")
        result = FUNCTIONS[name](*values)
        of_run_time = isinstance(result, str) and any(map(is_run_time, values))
        return RunTime.of(result) if of_run_time and not is_run_time(result) else result

    def _member(self, base: Any, name: Any) -> Any:
        try:
            return base.member(name) if hasattr(base, "member") else base[name]
        except (EvaluationError, KeyError, IndexError, TypeError) as error:
            raise self._error(f"there is no {name!r}: {error}") from error

    def _error(self, what: str) -> EvaluationError:
        return EvaluationError(f"{self._path.name}: {what}")


def _flatten(node: Node) -> list[Any]:
    """The operands (nodes) and operators (texts) of an expression, in the order of the source."""
    children = [child for child in node.children if child.type != "comment"]
    match node.type:
        case "member_expression":
            return [*_flatten(children[0]), ".", children[-1]]
        case "subscript_expression":
            return [*_flatten(children[0]), "[", children[2]]
        case "binary_expression" | "ternary_expression" | "unary_expression" | "lambda_expression":
            flat: list[Any] = []
            for child in children:
                flat += _flatten(child) if child.is_named else [child.type]
            return flat
        case _:
            return [node]
