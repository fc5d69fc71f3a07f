"""What storage refuses and why, by its codes, at the table and at the queue."""

from __future__ import annotations

from typing import cast
from unittest.mock import Mock

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ServiceRequestError,
)
from azure.data.tables.aio import TableClient

from shared.state.azure_table import AzureTable
from shared.state.clock import StorageClock
from shared.state.errors import RowExistsError, StorageUnavailableError
from shared.state.refusals import refusal
from shared.state.service import Answer
from tests.support.table_service import RefusedError, TableService

SERVICE, ROLE = "Table Storage", "Storage Table Data Contributor"


def table() -> AzureTable:
    client = cast("TableClient", Mock())
    return AzureTable("rows", lambda: client, TableService().opened(), StorageClock())


def refused(status: int, code: str, *, in_header: bool = False) -> HttpResponseError:
    headers = {"x-ms-error-code": code} if in_header else {}
    response = Mock(status_code=status, reason="No", headers=headers)
    kind = {403: ClientAuthenticationError, 409: ResourceExistsError}.get(status, HttpResponseError)
    error = kind(message=code, response=response)
    if not in_header:
        error.error_code = code  # pyright: ignore[reportAttributeAccessIssue] - as the SDKs do
    return error


CODES = [
    (403, "AuthorizationFailure", "network rules"),
    (403, "AuthorizationPermissionMismatch", ROLE),
    (403, "InsufficientAccountPermissions", ROLE),
    (403, "KeyBasedAuthenticationNotPermitted", "AzureWebJobsStorage__accountName"),
    (403, "AccountIsDisabled", "disabled"),
    (403, "AuthenticationFailed", "key in AzureWebJobsStorage"),
    (403, "SomethingNew", ROLE),
    (401, "InvalidAuthenticationInfo", "AZURE_CLIENT_ID"),
    (409, "AccountBeingCreated", "being created"),
    (409, "TableBeingDeleted", "being deleted"),
    (409, "AccountLimitExceeded", "full"),
    (409, "TotalCapacityExceeded", "full"),
    (507, "", "full"),
]


@pytest.mark.parametrize("in_header", [False, True])
@pytest.mark.parametrize(("status", "code", "told"), CODES)
def test_a_refusal_says_what_it_is(status: int, code: str, told: str, in_header: bool) -> None:
    error = refused(status, code, in_header=in_header)
    text = refusal(error, SERVICE, ROLE)
    assert text is not None
    assert told in text
    assert code in text
    response = RefusedError(status, code, in_body=not in_header).response()
    header = response.headers.get("x-ms-error-code", "")
    answer = Answer.of(status, "", response.content, header)
    for table_error in (table()._translate(error), TableService().opened().failure(answer)):
        assert (type(table_error), str(table_error)) == (StorageUnavailableError, text)


@pytest.mark.parametrize(
    "error",
    [
        refused(409, "EntityAlreadyExists"),
        refused(409, ""),
        refused(503, "ServerBusy"),
        refused(503, "AccountIOPSLimitExceeded"),
        ServiceRequestError("down"),
    ],
)
def test_what_is_no_refusal_is_left_to_others(error: HttpResponseError) -> None:
    assert refusal(error, SERVICE, ROLE) is None


def test_a_row_that_exists_is_no_trouble_of_the_account() -> None:
    assert isinstance(table()._translate(refused(409, "EntityAlreadyExists")), RowExistsError)
