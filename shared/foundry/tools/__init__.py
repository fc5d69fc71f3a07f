"""Tools: what can be offered to a model, custom functions and how they run, approvals."""

from .approvals import ApprovalCallback, answer_approvals, deny
from .calls import FunctionCall, FunctionOutput, function_calls
from .catalogue import AnyTool, ToolChoice, parse_tool, parse_tool_choice
from .custom import CustomTool, ToolError, custom_tool, tool
from .model_tools import ToolModel
from .names import NAMED_TOOLS
from .refusals import tools_refused
from .toolbox import Toolbox, ToolLike

__all__ = [
    "NAMED_TOOLS",
    "AnyTool",
    "ApprovalCallback",
    "CustomTool",
    "FunctionCall",
    "FunctionOutput",
    "ToolChoice",
    "ToolError",
    "ToolLike",
    "ToolModel",
    "Toolbox",
    "answer_approvals",
    "custom_tool",
    "deny",
    "function_calls",
    "parse_tool",
    "parse_tool_choice",
    "tool",
    "tools_refused",
]
