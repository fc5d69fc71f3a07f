"""Declarations of the routes of the face."""

from __future__ import annotations

from http import HTTPStatus

from ..documents import Document, JsonObject
from ..http.operation import BUDGET_WARNING, REPLAYED, Header, Operation, Result, Tag, ok
from ..problems import ProblemKind
from .chat_body import CreateChatCompletion
from .chat_wire import ChatCompletionDocument
from .conversations import (
    ConversationCreate,
    ConversationDocument,
    ConversationUpdate,
    ItemsCreate,
)
from .errors import ERRORS
from .fields import IGNORED_PARAMS
from .models import ModelDocument, ModelListDocument
from .pages import DeletedDocument, ItemsPage
from .queries import ItemsQuery, OpenQuery, ResponseQuery
from .rate_limits import MEASURES
from .response_body import ResponseCreate
from .response_wire import ResponseDocument

EVENT_STREAM = "text/event-stream"


class ChatEvent(Document):
    """An event of a stream: a chunk as JSON; the last one has `[DONE]`."""

    data: str


class ResponseEvent(Document):
    """An event of a stream: its type, and the event as JSON."""

    event: str
    data: str


IGNORED = Header(
    IGNORED_PARAMS,
    "Present if fields of the request have no effect: which ones, separated by commas.",
    "seed, logit_bias",
)

RATE_LIMITS = tuple(
    Header(
        f"x-ratelimit-{part}-{measure}",
        f"Of the tightest budget of {measure}, if there is one: {meaning}.",
        example,
    )
    for measure in MEASURES
    for part, meaning, example in (
        ("limit", "its amount", "1000"),
        ("remaining", "what is left beside running requests", "987"),
        ("reset", "the time until its period ends", "5h3m0s"),
    )
)

LIST_MODELS = Operation(
    id="listOpenAiModels",
    tag=Tag.OPENAI,
    summary="List the models that a request may name",
    description=(
        "Deployments, the configured agent as `agent:<name>`, and types of models; those that the "
        "caller's key allows."
    ),
    query=OpenQuery,
    results=ok("The models.", ModelListDocument),
    problems=(ProblemKind.CONFIGURATION_ERROR,),
    errors=ERRORS,
)

GET_MODEL = Operation(
    id="getOpenAiModel",
    tag=Tag.OPENAI,
    summary="Show a model",
    query=OpenQuery,
    results=ok("The model.", ModelDocument),
    problems=(ProblemKind.MODEL_NOT_FOUND,),
    errors=ERRORS,
)

CREATE_CHAT_COMPLETION = Operation(
    id="createChatCompletion",
    tag=Tag.OPENAI,
    summary="Answer a conversation",
    description="The request has the whole conversation; nothing of it is kept for the next one.",
    query=OpenQuery,
    body=CreateChatCompletion,
    is_keyed=True,
    results={
        HTTPStatus.OK: Result(
            meaning="The answer of the model; with `stream`, the same as chunks.",
            document=ChatCompletionDocument,
            also={EVENT_STREAM: ChatEvent},
            headers=(REPLAYED, BUDGET_WARNING, IGNORED, *RATE_LIMITS),
        )
    },
    problems=(
        ProblemKind.UNSUPPORTED_PARAMETER,
        ProblemKind.INVALID_TOOLS,
        ProblemKind.MODEL_NOT_FOUND,
        ProblemKind.ANSWER_NOT_KEPT,
        ProblemKind.BUDGET_SPENT,
        ProblemKind.BUDGET_TOO_SMALL,
        ProblemKind.BUDGET_RESERVED,
        ProblemKind.CONTENT_FILTER,
        ProblemKind.RATE_LIMITED,
        ProblemKind.SERVICE_UNAVAILABLE,
        ProblemKind.TIMEOUT,
    ),
    errors=ERRORS,
)

TURN_PROBLEMS = CREATE_CHAT_COMPLETION.problems

CREATE_RESPONSE = Operation(
    id="createResponse",
    tag=Tag.OPENAI,
    summary="Answer an input",
    description=(
        "Alone, after earlier responses (`previous_response_id`), or in a conversation. Unless "
        "`store` is false, the response can be read, continued and deleted later."
    ),
    query=OpenQuery,
    body=ResponseCreate,
    is_keyed=True,
    results={
        HTTPStatus.OK: Result(
            meaning="The response; with `stream`, its events.",
            document=ResponseDocument,
            also={EVENT_STREAM: ResponseEvent},
            headers=(REPLAYED, BUDGET_WARNING, IGNORED, *RATE_LIMITS),
        )
    },
    problems=(*TURN_PROBLEMS, ProblemKind.NOT_FOUND, ProblemKind.THREAD_BUSY),
    errors=ERRORS,
)

GET_RESPONSE = Operation(
    id="getResponse",
    tag=Tag.OPENAI,
    summary="Read a stored response",
    query=ResponseQuery,
    results=ok(
        "The response; with `stream`, its events.",
        ResponseDocument,
        also={EVENT_STREAM: ResponseEvent},
    ),
    problems=(ProblemKind.NOT_FOUND, ProblemKind.ANSWER_NOT_KEPT),
    errors=ERRORS,
)

DELETE_RESPONSE = Operation(
    id="deleteResponse",
    tag=Tag.OPENAI,
    summary="Delete a stored response",
    query=OpenQuery,
    results=ok("It is deleted.", DeletedDocument),
    problems=(ProblemKind.NOT_FOUND,),
    errors=ERRORS,
)

CANCEL_RESPONSE = Operation(
    id="cancelResponse",
    tag=Tag.OPENAI,
    summary="Cancel a response that runs in the background",
    query=OpenQuery,
    is_keyed=True,
    results=ok("The response.", ResponseDocument),
    problems=(ProblemKind.NOT_FOUND, ProblemKind.JOB_ENDED),
    errors=ERRORS,
)

LIST_INPUT_ITEMS = Operation(
    id="listInputItems",
    tag=Tag.OPENAI,
    summary="List the input items of a stored response",
    query=ItemsQuery,
    results=ok("A page of items.", ItemsPage),
    problems=(ProblemKind.NOT_FOUND,),
    errors=ERRORS,
)

_OF_CONVERSATIONS = (
    ProblemKind.NOT_FOUND,
    ProblemKind.THREAD_BUSY,
    ProblemKind.UNSUPPORTED_PARAMETER,
    ProblemKind.SERVICE_UNAVAILABLE,
    ProblemKind.TIMEOUT,
)

CREATE_CONVERSATION = Operation(
    id="createConversation",
    tag=Tag.OPENAI,
    summary="Start a conversation",
    description="It is a thread of the app, whose `thread_id` ends like its id.",
    query=OpenQuery,
    body=ConversationCreate,
    is_keyed=True,
    results=ok("The conversation.", ConversationDocument, headers=(REPLAYED, IGNORED)),
    problems=_OF_CONVERSATIONS,
    errors=ERRORS,
)

GET_CONVERSATION = Operation(
    id="getConversation",
    tag=Tag.OPENAI,
    summary="Show a conversation",
    query=OpenQuery,
    results=ok("The conversation.", ConversationDocument),
    problems=(ProblemKind.NOT_FOUND,),
    errors=ERRORS,
)

UPDATE_CONVERSATION = Operation(
    id="updateConversation",
    tag=Tag.OPENAI,
    summary="Replace the metadata of a conversation",
    query=OpenQuery,
    body=ConversationUpdate,
    results=ok("The conversation.", ConversationDocument, headers=(IGNORED,)),
    problems=(ProblemKind.NOT_FOUND,),
    errors=ERRORS,
)

DELETE_CONVERSATION = Operation(
    id="deleteConversation",
    tag=Tag.OPENAI,
    summary="Delete a conversation with all that came of it",
    query=OpenQuery,
    results=ok("It is deleted.", DeletedDocument),
    problems=_OF_CONVERSATIONS,
    errors=ERRORS,
)

LIST_ITEMS = Operation(
    id="listItems",
    tag=Tag.OPENAI,
    summary="List the items of a conversation",
    query=ItemsQuery,
    results=ok("A page of items.", ItemsPage),
    problems=_OF_CONVERSATIONS,
    errors=ERRORS,
)

ADD_ITEMS = Operation(
    id="addItems",
    tag=Tag.OPENAI,
    summary="Add items to a conversation",
    query=OpenQuery,
    body=ItemsCreate,
    is_keyed=True,
    results=ok("The added items.", ItemsPage, headers=(REPLAYED, IGNORED)),
    problems=_OF_CONVERSATIONS,
    errors=ERRORS,
)

GET_ITEM = Operation(
    id="getItem",
    tag=Tag.OPENAI,
    summary="Show an item of a conversation",
    query=OpenQuery,
    results=ok("The item.", JsonObject),
    problems=_OF_CONVERSATIONS,
    errors=ERRORS,
)

DELETE_ITEM = Operation(
    id="deleteItem",
    tag=Tag.OPENAI,
    summary="Delete an item of a conversation",
    query=OpenQuery,
    results=ok("The conversation.", ConversationDocument),
    problems=_OF_CONVERSATIONS,
    errors=ERRORS,
)
