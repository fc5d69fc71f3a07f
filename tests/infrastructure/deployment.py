"""Works out what a Bicep file would deploy: every resource of it and its modules, with its body.

Values that exist only at run time become texts in angle quotes; one that a name is made of is
refused, as the compiler refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tree_sitter import Node

from .bicep import Declaration, Source
from .expressions import EvaluationError, Expressions, RunTime, is_run_time
from .functions import resource_id

_PYTHON_TYPES = {"string": str, "int": int, "bool": bool, "object": dict, "string[]": list}


@dataclass
class Resource:
    """One resource as it would be sent to Azure."""

    file: str
    symbol: str
    type: str
    version: str
    body: dict[str, Any]
    existing: bool

    @property
    def name(self) -> str:
        """The resource's own name, without those of its parents."""
        return str(self.body["name"])

    @property
    def path(self) -> str:
        """The name, after those of its parents."""
        parent = self.body.get("parent")
        return f"{parent.path}/{self.name}" if isinstance(parent, Resource) else self.name

    @property
    def id(self) -> str:
        """A stand-in for the resource's id."""
        scope = self.body.get("scope")
        if isinstance(scope, Resource):
            return f"{scope.id}/providers/{self.type}/{self.path}"
        return resource_id(self.type, self.path)

    def member(self, name: str) -> Any:
        """What `symbol.name` is in the template."""
        if name in {"id", "name", "type"}:
            return getattr(self, name)
        return RunTime.of(f"{self.symbol}.{name}")

    def __str__(self) -> str:
        """The place of the resource in the templates."""
        return f"{self.file}: {self.symbol}"


@dataclass
class Deployment:
    """What one file would deploy."""

    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def member(self, _: str) -> Any:
        """What `module.outputs` is in the template."""
        return self.outputs

    def of_type(self, type_: str) -> list[Resource]:
        """The resources of a type, without those that are only referred to."""
        return [each for each in self.resources if each.type == type_ and not each.existing]


@dataclass
class _Skipped:
    """A module or resource whose condition is false."""

    symbol: str

    def member(self, _: str) -> Any:
        raise EvaluationError(f"{self.symbol} is read where it is not deployed")


def deploy(main: Path, parameters: Mapping[str, Any]) -> Deployment:
    """Evaluate a file with its modules.

    Raises:
        EvaluationError: where the template would not deploy.
    """
    return _File(Source.read(main), parameters).deploy()


class _File:
    """The evaluation of one file with given parameters."""

    def __init__(self, source: Source, parameters: Mapping[str, Any]) -> None:
        self._source = source
        self._name = source.path.name
        self._deployment = Deployment()
        self._values: dict[str, Any] = {}
        self._pending: set[str] = set()
        self._expressions = Expressions(source.path, self._named)
        self._take_parameters(parameters)

    def deploy(self) -> Deployment:
        declarations = self._source.declarations
        for kind in ("var", "resource", "module"):
            for name in declarations[kind]:
                self._named(name)
        for name, output in declarations["output"].items():
            self._deployment.outputs[name] = self._evaluate(_value(output))
        return self._deployment

    def _take_parameters(self, given: Mapping[str, Any]) -> None:
        declared = self._source.declarations["param"]
        if unknown := set(given) - set(declared):
            raise EvaluationError(f"{self._name} has no parameter {sorted(unknown)}")
        for name, declaration in declared.items():
            if name in given:
                self._values[name] = given[name]
            elif declaration.value is None:
                raise EvaluationError(f"{self._name} needs the parameter {name}")
            else:
                self._values[name] = self._evaluate(declaration.value)
            self._check(declaration, self._values[name])

    def _check(self, declaration: Declaration, value: Any) -> None:
        limits = {
            name: self._evaluate(arguments[0])
            for name, arguments in declaration.decorators.items()
            if name in {"allowed", "minValue", "maxValue", "minLength", "maxLength"}
        }
        where = f"{self._name}: {declaration.name} = {value!r}"
        expected = _PYTHON_TYPES.get(declaration.type, object)
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise EvaluationError(f"{where} is not of type {declaration.type}")
        if value not in limits.get("allowed", [value]):
            raise EvaluationError(f"{where} is not one of {limits['allowed']}")
        if "minValue" in limits and value < limits["minValue"]:
            raise EvaluationError(f"{where} is less than {limits['minValue']}")
        if "maxValue" in limits and value > limits["maxValue"]:
            raise EvaluationError(f"{where} is more than {limits['maxValue']}")
        length = len(value) if isinstance(value, str | list) else 0
        if not limits.get("minLength", 0) <= length <= limits.get("maxLength", length):
            raise EvaluationError(f"{where} has a length that is not allowed")

    def _named(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name in self._pending:
            raise EvaluationError(f"{self._name}: {name} depends on itself")
        self._pending.add(name)
        self._values[name] = self._declared(name)
        return self._values[name]

    def _declared(self, name: str) -> Any:
        declarations = self._source.declarations
        if declaration := declarations["var"].get(name):
            return self._evaluate(_value(declaration))
        if declaration := declarations["resource"].get(name):
            return self._instances(declaration, self._resource)
        if declaration := declarations["module"].get(name):
            return self._instances(declaration, self._module)
        raise EvaluationError(f"{self._name}: {name} is not declared")

    def _evaluate(self, node: Node) -> Any:
        return self._expressions.evaluate(node)

    def _instances(
        self, declaration: Declaration, make: Callable[[Declaration, dict[str, Any]], Any]
    ) -> Any:
        node = _value(declaration)
        if node.type == "if_statement":
            condition, body = node.named_children
            if not self._evaluate(condition):
                return _Skipped(declaration.name)
            return make(declaration, self._evaluate(body))
        if node.type == "for_statement":
            return [make(declaration, body) for body in self._expressions.loop(node)]
        return make(declaration, self._evaluate(node))

    def _resource(self, declaration: Declaration, body: dict[str, Any]) -> Resource:
        type_, _, version = declaration.path.partition("@")
        resource = Resource(
            self._name, declaration.name, type_, version, body, declaration.existing
        )
        if is_run_time(body.get("name")):
            raise EvaluationError(f"{resource}: its name is known only at run time: {body['name']}")
        self._deployment.resources.append(resource)
        return resource

    def _module(self, declaration: Declaration, body: dict[str, Any]) -> Deployment:
        source = Source.read(self._source.path.parent / declaration.path)
        nested = _File(source, _known(body.get("params", {}))).deploy()
        self._deployment.resources += nested.resources
        outputs = {
            name: RunTime.of(f"{declaration.name}.{name}: {value}")
            if isinstance(value, str)
            else value
            for name, value in nested.outputs.items()
        }
        return Deployment(nested.resources, outputs)


def _value(declaration: Declaration) -> Node:
    value = declaration.value
    if value is None:
        raise EvaluationError(f"{declaration.name} has no value")
    return value


def _known(value: Any) -> Any:
    """Values as a module gets them: what was run time outside is known when it starts."""
    if isinstance(value, str):
        return value.replace("«", "<").replace("»", ">")
    if isinstance(value, dict):
        return {_known(key): _known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return value
