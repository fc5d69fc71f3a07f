"""What a row can hold is decided where a change to it is made, for every table alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from shared.state.errors import StateError
from shared.state.table import EARLIEST_MOMENT, LATEST_MOMENT, Change, Operation

EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))


@pytest.mark.parametrize(
    "value",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=WEST),
        datetime.min.replace(tzinfo=EAST),
        EARLIEST_MOMENT - timedelta(microseconds=1),
        LATEST_MOMENT,
        datetime(1970, 1, 1, 13, tzinfo=EAST),
        datetime(2026, 3, 1),  # noqa: DTZ001 - without a zone it is no moment
        2**63,
        -(2**63),
    ],
)
def test_what_the_store_refuses_or_cannot_give_back_is_never_written(value: Any) -> None:
    with pytest.raises(StateError, match="period of row"):
        Change(Operation.UPSERT, "row", {"period": value})


@pytest.mark.parametrize(
    "value",
    [EARLIEST_MOMENT, LATEST_MOMENT - timedelta(seconds=1), 2**63 - 1, True, None, "", b"", 0.5],
)
def test_what_it_can_hold_is_written(value: Any) -> None:
    assert Change(Operation.UPSERT, "row", {"period": value}).values == {"period": value}
