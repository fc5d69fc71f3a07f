"""Trim a conversation to the context of a model, oldest turns first."""

from dataclasses import replace

from .base import JsonObject, LanguageModel, Prompt, PromptTooLongError

ANSWER_SHARE = 4
"""At least one part in this many of the context is kept free for the answer."""


async def fit_to_context(model: LanguageModel, prompt: Prompt) -> Prompt:
    """Drop the oldest turns until the prompt leaves room for an answer.

    System messages stay. A turn is dropped whole, from its user message up to the next one, so a
    tool call never loses its output.

    Raises:
        PromptTooLongError: The last turn alone does not fit.
    """
    reserved = model.context_tokens // ANSWER_SHARE
    if prompt.max_output_tokens is not None:
        reserved = min(reserved, prompt.max_output_tokens)
    budget = model.context_tokens - reserved
    if await model.count_tokens(prompt) <= budget:
        return prompt
    fixed = [message for message in prompt.messages if _is_system(message)]
    turns = [message for message in prompt.messages if not _is_system(message)]
    starts = [i for i, message in enumerate(turns) if i > 0 and message["role"] == "user"]
    best: Prompt | None = None
    low, high = 0, len(starts)
    while low < high:
        middle = (low + high) // 2
        candidate = replace(prompt, messages=[*fixed, *turns[starts[middle] :]])
        if await model.count_tokens(candidate) <= budget:
            best, high = candidate, middle
        else:
            low = middle + 1
    if best is None:
        message = f"the input does not fit the context of {model.context_tokens} tokens"
        raise PromptTooLongError(message)
    return best


def _is_system(message: JsonObject) -> bool:
    return message["role"] in {"system", "developer"}
