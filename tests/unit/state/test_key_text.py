"""The text of client keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.state.key_text import KeyText, is_key_id, key_id_from, new_key_id

SEAL = b"s" * 32


def new() -> KeyText:
    return KeyText.new(new_key_id(), SEAL)


def test_a_key_reads_as_it_was_shown() -> None:
    key = new()
    text = key.show()
    assert len(text) == 66
    read = KeyText.parse(text)
    assert read is not None
    assert (read.key_id, read.digest) == (key.key_id, key.digest)
    assert read.is_sealed_by(SEAL)


def test_each_key_is_new() -> None:
    assert len({new().show() for _ in range(100)}) == 100


@pytest.mark.parametrize("place", range(4, 66))
def test_a_key_with_one_wrong_character_is_not_ours(place: int) -> None:
    text = new().show()
    other = "x" if text[place] != "x" else "y"
    read = KeyText.parse(text[:place] + other + text[place + 1 :])
    assert read is None or not read.is_sealed_by(SEAL)


def test_a_key_of_another_app_is_not_ours() -> None:
    assert not new().is_sealed_by(b"t" * 32)


@given(st.text())
def test_no_other_text_has_the_form_of_a_key(text: str) -> None:
    assert KeyText.parse(text) is None


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text.upper(),
        lambda text: text.replace("_", "-"),
        lambda text: text[:-1] + "\u0660",
    ],
)
def test_a_text_that_is_nearly_a_key_is_none(edit: Callable[[str], str]) -> None:
    assert KeyText.parse(edit(new().show())) is None


def test_a_key_is_in_no_representation_of_it() -> None:
    key = new()
    secret = key.show().rpartition("_")[2]
    assert secret[:43] not in repr(key) + str(key)
    assert secret not in key.digest


def test_an_id_belongs_to_a_name() -> None:
    assert key_id_from("a") == key_id_from("a") != key_id_from("b")
    assert is_key_id(key_id_from("a"))
    assert not is_key_id(key_id_from("a") + "\n")
