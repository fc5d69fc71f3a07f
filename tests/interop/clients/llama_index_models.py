"""LlamaIndex, on chat completions."""

from asked import BASE_URL, CALL, KEY, MODEL, NAME, RECALL, WORDS, Report, show, weather
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike


def model(key: str = KEY, name: str = MODEL) -> OpenAILike:
    """A model that speaks to the app."""
    return OpenAILike(
        model=name,
        api_base=BASE_URL,
        api_key=key,
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
    )


def tool_answer() -> str:
    """The answer to a call of a tool."""
    llm, tools = model(), [FunctionTool.from_defaults(weather)]
    first = llm.chat_with_tools(tools, user_msg=CALL)
    (call,) = llm.get_tool_calls_from_response(first)
    output = ChatMessage(
        weather(**call.tool_kwargs), role="tool", additional_kwargs={"tool_call_id": call.tool_id}
    )
    return llm.chat_with_tools(
        tools, chat_history=[ChatMessage(CALL), first.message, output]
    ).message.content


def recalled() -> str:
    """The answer that needs the history."""
    history = [ChatMessage(NAME)]
    history.append(model().chat(history).message)
    return model().chat([*history, ChatMessage(RECALL)]).message.content


def chat() -> Report:
    """Stream, call a tool, and keep a conversation."""
    return {
        "streamed": [chunk.delta for chunk in model().stream_chat([ChatMessage(WORDS)])],
        "tool": tool_answer(),
        "conversation": recalled(),
    }


show(lambda key, name: model(key, name).chat([ChatMessage(NAME)]), chat=chat)
