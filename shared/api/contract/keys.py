"""Declarations of the routes of client keys."""

from __future__ import annotations

from http import HTTPStatus

from ...http.operation import LOCATION, REPLAYED, Operation, Result, Tag, ok
from ...problems import ProblemKind
from ..keys import CreateKey, KeyDocument, KeysPage, KeysQuery, NewKeyDocument

CREATE_KEY = Operation(
    id="createKey",
    tag=Tag.KEYS,
    summary="Create a client key",
    description="Shows the key once. It can be revoked, but not read again.",
    body=CreateKey,
    is_keyed=True,
    results={
        HTTPStatus.CREATED: Result(
            meaning="The key.",
            document=NewKeyDocument,
            headers=(LOCATION, REPLAYED),
            links={"getKey": "key_id", "revokeKey": "key_id"},
        )
    },
)

LIST_KEYS = Operation(
    id="listKeys",
    tag=Tag.KEYS,
    summary="List the client keys",
    description="In the order of their ids, revoked ones included.",
    query=KeysQuery,
    results=ok("A page of keys.", KeysPage),
)

GET_KEY = Operation(
    id="getKey",
    tag=Tag.KEYS,
    summary="Show a client key",
    results=ok("The key.", KeyDocument),
    problems=(ProblemKind.NOT_FOUND,),
)

REVOKE_KEY = Operation(
    id="revokeKey",
    tag=Tag.KEYS,
    summary="Revoke a client key",
    description="Ends a key for good, on every instance within 30 seconds.",
    results=ok("The revoked key.", KeyDocument),
    problems=(ProblemKind.NOT_FOUND,),
)
