"""LangChain's `ChatOpenAI`, on chat completions and on responses."""

from asked import BASE_URL, CALL, KEY, MODEL, NAME, RECALL, WORDS, Report, show, weather
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


def model(key: str = KEY, name: str = MODEL, **more: bool) -> ChatOpenAI:
    """A model that speaks to the app."""
    return ChatOpenAI(model=name, api_key=key, base_url=BASE_URL, **more)


def used(llm: ChatOpenAI) -> Report:
    """Stream, call a tool, and keep a conversation."""
    with_tools = llm.bind_tools([tool(weather)])
    asked = [HumanMessage(CALL)]
    first = with_tools.invoke(asked)
    (call,) = first.tool_calls
    output = ToolMessage(weather(**call["args"]), tool_call_id=call["id"])
    history = [HumanMessage(NAME)]
    history += [llm.invoke(history), HumanMessage(RECALL)]
    return {
        "streamed": [chunk.text for chunk in llm.stream(WORDS) if chunk.text],
        "tool": with_tools.invoke([*asked, first, output]).text,
        "conversation": llm.invoke(history).text,
    }


show(
    lambda key, name: model(key, name).invoke(NAME),
    chat=lambda: used(model()),
    responses=lambda: used(model(use_responses_api=True, use_previous_response_id=True)),
)
