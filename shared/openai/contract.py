"""Declarations of the routes of the face."""

from __future__ import annotations

from http import HTTPStatus

from ..http.operation import BUDGET_WARNING, REPLAYED, Header, Operation, Result, Tag, ok
from ..problems import ProblemKind
from .chat_body import ChatCompletion
from .chat_wire import ChatChunk, ChatCompletionDocument
from .fields import IGNORED_PARAMS
from .models import ModelDocument, ModelListDocument

IGNORED = Header(
    IGNORED_PARAMS,
    "Present if fields of the request have no effect: which ones, separated by commas.",
    "seed, logit_bias",
)

LIST_MODELS = Operation(
    id="listOpenAiModels",
    tag=Tag.OPENAI,
    summary="List the models that a request may name",
    description=(
        "Deployments, the configured agent as `agent:<name>`, and types of models; those that the "
        "caller's key allows."
    ),
    results=ok("The models.", ModelListDocument),
    problems=(ProblemKind.CONFIGURATION_ERROR,),
    is_published=False,
)

GET_MODEL = Operation(
    id="getOpenAiModel",
    tag=Tag.OPENAI,
    summary="Show a model",
    results=ok("The model.", ModelDocument),
    problems=(ProblemKind.MODEL_NOT_FOUND,),
    is_published=False,
)

CREATE_CHAT_COMPLETION = Operation(
    id="createChatCompletion",
    tag=Tag.OPENAI,
    summary="Answer a conversation",
    description="The request has the whole conversation; nothing of it is kept for the next one.",
    body=ChatCompletion,
    is_keyed=True,
    results={
        HTTPStatus.OK: Result(
            meaning="The answer of the model; with `stream`, the same as chunks.",
            document=ChatCompletionDocument,
            headers=(REPLAYED, BUDGET_WARNING, IGNORED),
        )
    },
    events={"": ChatChunk},
    problems=(
        ProblemKind.UNSUPPORTED_PARAMETER,
        ProblemKind.INVALID_TOOLS,
        ProblemKind.MODEL_NOT_FOUND,
        ProblemKind.BUDGET_SPENT,
        ProblemKind.BUDGET_TOO_SMALL,
        ProblemKind.BUDGET_RESERVED,
        ProblemKind.CONTENT_FILTER,
        ProblemKind.RATE_LIMITED,
        ProblemKind.SERVICE_UNAVAILABLE,
        ProblemKind.TIMEOUT,
    ),
    is_published=False,
)
