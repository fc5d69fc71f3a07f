"""Tools: what can be offered to a model, custom functions and how they run, approvals."""

from .approvals import ApprovalCallback, answer_approvals, deny
from .calls import FunctionCall, FunctionOutput, function_calls
from .catalogue import parse_tool, parse_tool_choice
from .custom import CustomTool, ToolError, custom_tool, tool
from .names import NAMED_TOOLS
from .refusals import tools_refused
from .toolbox import Toolbox, ToolLike

__all__ = [
    "NAMED_TOOLS",
    "ApprovalCallback",
    "CustomTool",
    "FunctionCall",
    "FunctionOutput",
    "ToolError",
    "ToolLike",
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
