"""Custom tools: Python functions that a model may call.

    @tool
    async def order_status(order_id: str) -> str:
        '''Look up where an order is.

        Args:
            order_id: Number on the invoice.
        '''

The model is sent the function's name, its docstring, and its parameters as a JSON schema.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

from ..wire_json import JsonObject, object_at

_P = ParamSpec("_P")
_R = TypeVar("_R")

_NAME = re.compile(r"^[A-Za-z0-9_-]{1,64}$")

_NAMEABLE = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}

_Bound = tuple[tuple[Any, ...], dict[str, Any]]


class ToolError(Exception):
    """Raise it in a custom tool to report a failure to the model, with its text.

    Of any other exception, the model gets the class name only, and the text is logged.
    """


class CustomTool(Generic[_P, _R]):
    """A function that a model may call; Python code can still call it directly."""

    def __init__(
        self, function: Callable[_P, _R], *, name: str | None = None, timeout: float | None = None
    ) -> None:
        """Build the tool's description and JSON schema from ``function``.

        Raises:
            TypeError: if it lacks a docstring or type hints, if JSON schema cannot describe its
                parameters, or if it is a generator.
            ValueError: if the name is not a valid tool name, or the timeout is not a positive,
                finite number.
        """
        self.name = name or _name_of(function)
        self.timeout = timeout
        """Seconds that a call may take; None for the configured timeout."""
        self.is_async = inspect.iscoroutinefunction(function)
        if not _NAME.match(self.name):
            raise ValueError(
                f"{self.name!r} cannot name a tool: use 1 to 64 letters, digits, '_' or '-'."
            )
        if timeout is not None and not 0 < timeout < math.inf:
            raise ValueError(f"A tool's timeout is a number of seconds above 0, not {timeout!r}.")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{self.name} cannot be a tool: it is a generator; return a list.")
        self._function = function
        self._arguments = _arguments_of(function)
        self.description, described = _documentation(function)
        self.parameters = _schema(self._arguments, described)
        functools.update_wrapper(self, function)

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call the function itself."""
        return self._function(*args, **kwargs)

    def bind(self, arguments: str) -> Callable[[], _R]:
        """Bind the model's ``arguments`` (JSON text) to the function; the result runs the call.

        Raises:
            pydantic.ValidationError: if they are not JSON or do not match the parameters.
        """
        args, kwargs = self._arguments.validate_json(arguments.strip() or "{}")
        return functools.partial(self._function, *args, **kwargs)

    def definition(self) -> JsonObject:
        """The tool's JSON object in a request or an agent's definition.

        `strict` is false, because strict mode has no optional parameters; `bind` validates the
        arguments.
        """
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "strict": False,
        }


@overload
def tool(function: Callable[_P, _R], /) -> CustomTool[_P, _R]: ...


@overload
def tool(
    *, name: str | None = None, timeout: float | None = None
) -> Callable[[Callable[_P, _R]], CustomTool[_P, _R]]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
) -> Any:
    """Make a custom tool of a sync or async function.

    Args:
        function: Needs type hints and a docstring. A sync function runs in a thread.
        name: The tool's name for the model; default is the function's name.
        timeout: Seconds that a call may take; default is `FOUNDRY_TOOL_TIMEOUT`.

    Raises:
        TypeError, ValueError: if the function cannot be a tool; the text says why.
    """
    if function is not None:
        return CustomTool(function, name=name, timeout=timeout)
    return functools.partial(CustomTool, name=name, timeout=timeout)


def custom_tool(function: Callable[..., Any]) -> CustomTool[..., Any]:
    """Make a tool of a function; a `CustomTool` is returned unchanged.

    Raises:
        TypeError, ValueError: if the function cannot be a tool; the text says why.
    """
    if isinstance(function, CustomTool):
        return cast("CustomTool[..., Any]", function)
    if not callable(function):
        raise TypeError(f"{function!r} is not a tool: give a name, an object or a function.")
    return CustomTool(function)


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        raise TypeError(f"{function!r} has no name: give it one, as in tool(name=...).")
    return name


class _UntitledSchema(GenerateJsonSchema):
    """Writes a schema without titles, which repeat the names and cost tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _arguments_of(function: Callable[..., Any]) -> TypeAdapter[_Bound]:
    """A validator that turns JSON into the positional and keyword arguments of ``function``."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in _NAMEABLE:
            raise TypeError(
                f"{function.__qualname__} cannot be a tool: a model cannot name the parameter "
                f"'{parameter}'."
            )
        if parameter.annotation is inspect.Parameter.empty:
            raise TypeError(
                f"{function.__qualname__} cannot be a tool: its parameter '{parameter.name}' has "
                "no type hint."
            )

    @functools.wraps(function)
    def bound(*args: Any, **kwargs: Any) -> _Bound:
        return args, kwargs

    try:
        return TypeAdapter(cast("Any", bound))
    except (PydanticUserError, NameError) as error:
        raise TypeError(f"{function.__qualname__} cannot be a tool: {error}") from error


def _schema(arguments: TypeAdapter[_Bound], described: dict[str, str]) -> JsonObject:
    try:
        schema: JsonObject = arguments.json_schema(schema_generator=_UntitledSchema)
    except PydanticUserError as error:
        raise TypeError(f"No JSON schema can describe the parameters: {error}") from error
    properties = object_at(schema, "properties")
    for name, text in described.items():
        if name in properties:
            properties[name].setdefault("description", text)
    return {**schema, "properties": properties}


def _documentation(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The docstring's description of the function, and of each parameter by name."""
    from docstring_parser import parse

    parsed = parse(inspect.getdoc(function) or "")
    if not parsed.description:
        raise TypeError(
            f"{function.__qualname__} cannot be a tool: it has no docstring that says what it does."
        )
    described = {p.arg_name: " ".join((p.description or "").split()) for p in parsed.params}
    return parsed.description, {name: text for name, text in described.items() if text}
