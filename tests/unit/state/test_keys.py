"""Keys: what belongs together sorts together, and nobody's key is somebody else's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from shared.state.keys import (
    AFTER_COLON,
    Kind,
    box_key,
    identifier,
    is_id,
    made_at,
    new_id,
    newest_first,
    owner_of,
    partition_key,
    turn_key,
)

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
ULIDS = st.builds(ULID.from_bytes, st.binary(min_size=16, max_size=16))
KINDS = st.sampled_from([Kind.THREAD, Kind.JOB])


@given(KINDS, ULIDS)
def test_an_id_survives_its_row_key(kind: Kind, ulid: ULID) -> None:
    text = f"{kind}_{ulid}"
    assert is_id(kind, text)
    key = newest_first(text)
    assert key.startswith(f"{kind}:")
    assert identifier(key) == text


@given(KINDS, MOMENTS)
def test_an_id_says_when_it_was_made(kind: Kind, moment: datetime) -> None:
    ulid = ULID.from_datetime(moment)
    assert made_at(f"{kind}_{ulid}") == ulid.datetime


@given(KINDS, ULIDS, ULIDS)
def test_newer_comes_first(kind: Kind, one: ULID, other: ULID) -> None:
    older, newer = sorted((str(one), str(other)))
    assert newest_first(f"{kind}_{newer}") <= newest_first(f"{kind}_{older}")


@given(MOMENTS, st.timedeltas(timedelta(milliseconds=1), timedelta(days=365)))
def test_time_orders_ids(moment: datetime, later: timedelta) -> None:
    first = newest_first(f"thread_{ULID.from_datetime(moment)}")
    second = newest_first(f"thread_{ULID.from_datetime(moment + later)}")
    assert second < first


@given(KINDS, ULIDS)
def test_all_rows_of_a_kind_lie_in_its_range(kind: Kind, ulid: ULID) -> None:
    assert f"{kind}:" < newest_first(f"{kind}_{ulid}") < f"{kind}{AFTER_COLON}"


@pytest.mark.parametrize("kind", list(Kind))
def test_new_ids_are_ids_of_their_kind_only(kind: Kind) -> None:
    made = new_id(kind)
    assert [other for other in Kind if is_id(other, made)] == [kind]


ULID_TEXT = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "thread_",
        ULID_TEXT,
        f"job_{ULID_TEXT}",
        f"thread_{ULID_TEXT.lower()}",
        f"thread_{ULID_TEXT}0",
        f"thread_8{ULID_TEXT[1:]}",
        f"thread_{ULID_TEXT[:-1]}U",
        f" thread_{ULID_TEXT}",
        f"thread_{ULID_TEXT}\n",
        f"thread_{ULID_TEXT[:-1]}/",
        "thread:x",
    ],
)
def test_other_texts_are_no_ids(text: str) -> None:
    assert not is_id(Kind.THREAD, text)


@given(st.text(), st.text())
def test_no_two_owners_share_a_partition(one: str, other: str) -> None:
    assert (partition_key(one) == partition_key(other)) == (one == other)


@given(st.text(alphabet=st.characters()))
def test_a_partition_tells_its_owner(owner: str) -> None:
    assert owner_of(partition_key(owner)) == owner


@given(st.text(alphabet=st.characters(), min_size=1))
def test_a_partition_key_has_only_characters_that_keys_may_have(owner: str) -> None:
    assert set(partition_key(owner)) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:._@-="
    )


def test_an_ordinary_owner_stays_readable() -> None:
    assert partition_key("tid:oid@x.example") == "tid:oid@x.example"
    assert partition_key("a=b/c") == "a=3Db=2Fc"


@given(st.lists(st.integers(1, 10**11), min_size=2, unique=True))
def test_a_lanes_places_sort_by_number(numbers: list[int]) -> None:
    keys = [box_key("thread_x", number) for number in sorted(numbers)]
    assert keys == sorted(keys)


def test_turns_are_together_by_thread() -> None:
    assert turn_key(f"thread_{ULID_TEXT}", f"turn_{ULID_TEXT}") == (
        f"turn:thread_{ULID_TEXT}:{ULID_TEXT}"
    )
    assert turn_key(None, f"turn_{ULID_TEXT}") == f"turn:-:{ULID_TEXT}"
