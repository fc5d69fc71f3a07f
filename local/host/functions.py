"""Loads a function app and reads its functions and their triggers."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from azure.functions import FunctionApp

from local.host.settings import HostConfigurationError

HTTP_TRIGGER = "httpTrigger"
QUEUE_TRIGGER = "queueTrigger"
TIMER_TRIGGER = "timerTrigger"
_SERVED_BINDINGS = {HTTP_TRIGGER, QUEUE_TRIGGER, TIMER_TRIGGER, "http"}


@dataclass(frozen=True)
class Function:
    """One function of the app with its trigger."""

    name: str
    handler: Callable[..., object]
    """The app's own function; coroutine functions run on the loop, others in a thread."""
    trigger_type: str
    trigger: Mapping[str, object]
    """The trigger binding in the form of function.json."""
    directory: str
    takes_context: bool

    @property
    def trigger_argument(self) -> str:
        """The name of the parameter for the trigger's value."""
        return str(self.trigger["name"])

    @property
    def is_async(self) -> bool:
        """Whether the handler runs on the event loop, decided as the Python worker does."""
        return inspect.iscoroutinefunction(self.handler)


def load_app_module(app_dir: Path) -> ModuleType:
    """Import the app's script (PYTHON_SCRIPT_FILE_NAME, default `function_app.py`)."""
    script = os.environ.get("PYTHON_SCRIPT_FILE_NAME", "function_app.py")
    if not (app_dir / script).is_file():
        raise HostConfigurationError(f"{app_dir / script} does not exist.")
    sys.path.insert(0, str(app_dir))
    return importlib.import_module(Path(script).stem)


def index_functions(module: ModuleType) -> list[Function]:
    """Read the functions of the module's FunctionApp, which allows this only once."""
    apps = [value for value in vars(module).values() if isinstance(value, FunctionApp)]
    if len(apps) != 1:
        raise HostConfigurationError(
            f"{module.__name__} must hold exactly one azure.functions.FunctionApp, not {len(apps)}."
        )
    # The library has no types for functions and bindings.
    built = cast("list[Any]", apps[0].get_functions())
    return [_describe(function) for function in built]


def is_disabled(function: Function, environment: Mapping[str, str]) -> bool:
    """Whether the setting `AzureWebJobs.<name>.Disabled` turns a function off.

    https://learn.microsoft.com/azure/azure-functions/disable-function
    """
    value = environment.get(f"AzureWebJobs.{function.name}.Disabled", "")
    return value.lower() in {"true", "1"}


def _describe(function: Any) -> Function:
    name = str(function.get_function_name())
    bindings: list[dict[str, Any]] = [b.get_dict_repr() for b in function.get_bindings()]
    unknown = {str(binding["type"]) for binding in bindings} - _SERVED_BINDINGS
    if unknown:
        raise HostConfigurationError(
            f"function {name} has a binding that the local host does not serve: "
            f"{', '.join(sorted(unknown))}. Install Azure Functions Core Tools to run it."
        )
    trigger = next(b for b in bindings if str(b["type"]).endswith("Trigger"))
    handler: Callable[..., Any] = function.get_user_function()
    parameters = set(inspect.signature(handler).parameters)
    bound = {str(b["name"]) for b in bindings} - {"$return"}
    if parameters - {"context"} != bound - {"context"}:
        raise HostConfigurationError(
            f"function {name} takes {sorted(parameters)}, but its bindings are {sorted(bound)}."
        )
    return Function(
        name=name,
        handler=handler,
        trigger_type=str(trigger["type"]),
        trigger=trigger,
        directory=str(Path(inspect.getfile(inspect.unwrap(handler))).parent),
        takes_context="context" in parameters - bound,
    )
