"""The official `openai` package: chat completions, responses and conversations."""

import json

from asked import BASE_URL, CALL, KEY, MODEL, NAME, PARAMETERS, RECALL, WORDS, Report, show, weather
from openai import OpenAI
from openai.types.chat.chat_completion import Choice

client = OpenAI(base_url=BASE_URL, api_key=KEY)


def chat() -> Report:
    """Chat completions, which get the whole history each time."""

    def ask(messages: list, **more: object) -> Choice:
        return client.chat.completions.create(model=MODEL, messages=messages, **more).choices[0]

    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": WORDS}],
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = stream
    assert last.usage
    assert last.usage.total_tokens > 0
    tools = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
    asked = [{"role": "user", "content": CALL}]
    first = ask(asked, tools=tools)
    (call,) = first.message.tool_calls
    output = weather(**json.loads(call.function.arguments))
    answered = {"role": "tool", "tool_call_id": call.id, "content": output}
    second = ask([*asked, first.message, answered], tools=tools)
    history = [{"role": "user", "content": NAME}]
    history.append(ask(history).message)
    return {
        "streamed": [chunk.choices[0].delta.content or "" for chunk in chunks],
        "tool": second.message.content,
        "conversation": ask([*history, {"role": "user", "content": RECALL}]).message.content,
    }


def responses() -> Report:
    """Responses, which continue an earlier one or a conversation."""
    tools = [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}]
    events = [*client.responses.create(model=MODEL, input=WORDS, stream=True)]
    first = client.responses.create(model=MODEL, input=CALL, tools=tools)
    (call,) = [item for item in first.output if item.type == "function_call"]
    output = weather(**json.loads(call.arguments))
    second = client.responses.create(
        model=MODEL,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": output}],
        previous_response_id=first.id,
        tools=tools,
    )
    conversation = client.conversations.create(metadata={"topic": "names"})
    client.responses.create(model=MODEL, input=NAME, conversation=conversation.id)
    recalled = client.responses.create(model=MODEL, input=RECALL, conversation=conversation.id)
    items = client.conversations.items.list(conversation.id, order="asc")
    assert [item.role for item in items] == ["user", "assistant"] * 2
    client.conversations.delete(conversation.id)
    assert events[-1].type == "response.completed"
    return {
        "streamed": [event.delta for event in events if event.type == "response.output_text.delta"],
        "tool": second.output_text,
        "conversation": recalled.output_text,
    }


def refused(key: str, model: str) -> object:
    """Ask with another key or model."""
    other = client.with_options(api_key=key)
    return other.chat.completions.create(model=model, messages=[{"role": "user", "content": NAME}])


assert MODEL in [model.id for model in client.models.list()]
show(refused, chat=chat, responses=responses)
