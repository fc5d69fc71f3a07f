"""Declarations of the routes of threads, without those that send messages."""

from __future__ import annotations

from http import HTTPStatus

from ...http.operation import LOCATION, REPLAYED, Operation, Result, Tag, ok
from ...problems import ProblemKind
from ..threads import (
    CreateThread,
    DeletingDocument,
    MessagesPage,
    MessagesQuery,
    PatchThread,
    ThreadDocument,
    ThreadsPage,
    ThreadsQuery,
)

LINKS = {"getThread": "thread_id", "sendThreadMessage": "thread_id", "deleteThread": "thread_id"}

FOUNDRY_PROBLEMS = (
    ProblemKind.FOUNDRY_REFUSED,
    ProblemKind.RATE_LIMITED,
    ProblemKind.FOUNDRY_MISSING,
    ProblemKind.PROTOCOL_ERROR,
    ProblemKind.CONFIGURATION_ERROR,
    ProblemKind.AUTHENTICATION_FAILED,
    ProblemKind.PERMISSION_DENIED,
    ProblemKind.SERVICE_UNAVAILABLE,
    ProblemKind.FOUNDRY_ERROR,
    ProblemKind.TIMEOUT,
)
"""Of routes that call Foundry without running a turn."""

CREATE_THREAD = Operation(
    id="createThread",
    tag=Tag.THREADS,
    summary="Create a thread",
    description="Creates a conversation with a history.",
    body=CreateThread,
    is_keyed=True,
    results={
        HTTPStatus.CREATED: Result(
            meaning="The thread.",
            document=ThreadDocument,
            headers=(LOCATION, REPLAYED),
            links=LINKS,
        )
    },
    problems=FOUNDRY_PROBLEMS,
)

LIST_THREADS = Operation(
    id="listThreads",
    tag=Tag.THREADS,
    summary="List your threads",
    description="Newest first; with a metadata pair if `metadata.<key>=<text>` is given.",
    query=ThreadsQuery,
    results=ok("A page of threads.", ThreadsPage),
)

GET_THREAD = Operation(
    id="getThread",
    tag=Tag.THREADS,
    summary="Show a thread",
    results=ok("The thread.", ThreadDocument),
    problems=(ProblemKind.NOT_FOUND,),
)

PATCH_THREAD = Operation(
    id="patchThread",
    tag=Tag.THREADS,
    summary="Change the metadata of a thread",
    description="Merges pairs into the metadata; null removes a pair.",
    body=PatchThread,
    results=ok("The changed thread.", ThreadDocument),
    problems=(
        ProblemKind.NOT_FOUND,
        ProblemKind.METADATA_FULL,
        ProblemKind.STORAGE_CONTENTION,
    ),
)

DELETE_THREAD = Operation(
    id="deleteThread",
    tag=Tag.THREADS,
    summary="Delete a thread",
    description="Deletes a thread and everything that belongs to it, here and in Foundry.",
    results={
        HTTPStatus.NO_CONTENT: Result(meaning="The thread is deleted."),
        HTTPStatus.ACCEPTED: Result(
            meaning="A long thread is still being deleted; it can no longer be read.",
            document=DeletingDocument,
        ),
    },
    problems=(
        *FOUNDRY_PROBLEMS,
        ProblemKind.NOT_FOUND,
        ProblemKind.THREAD_BUSY,
        ProblemKind.STORAGE_CONTENTION,
    ),
)

LIST_THREAD_MESSAGES = Operation(
    id="listThreadMessages",
    tag=Tag.THREADS,
    summary="List the messages of a thread",
    description="The history as Foundry has it, newest message first.",
    query=MessagesQuery,
    results=ok("A page of messages.", MessagesPage),
    problems=(*FOUNDRY_PROBLEMS, ProblemKind.NOT_FOUND),
)
