"""Reading `Prefer`: RFC 7240, https://www.rfc-editor.org/rfc/rfc7240."""

from __future__ import annotations

import pytest

from shared.http.prefer import MAX_WAIT_SECONDS, Preference, read_preference

ASYNC = Preference(respond_async=True)


@pytest.mark.parametrize(
    "headers",
    [
        ["respond-async"],
        ["Respond-Async"],
        [" respond-async ,"],
        ['respond-async=""'],
        ["respond-async="],
        ["respond-async; foo=bar; baz"],
        ["return=minimal, respond-async"],
        ["return=minimal", "respond-async"],
        ['foo="a, wait=9", respond-async'],
        [r'foo="a\", b", respond-async'],
        ["handling=lenient; wait=5, respond-async"],
        ["respond-async, wait"],
        ["respond-async, wait=ten"],
        ["respond-async, wait=-1"],
        ["respond-async, wait=1.5"],
        ["respond-async, wait=\N{FULLWIDTH DIGIT ONE}"],
        ["respond-async, wait=0"],
        ["respond-async, wait=x, wait=10"],
        [",,respond-async,,"],
    ],
)
def test_respond_async_alone_does_not_wait(headers: list[str]) -> None:
    assert read_preference(headers) == ASYNC
    assert ASYNC.applied == {"Preference-Applied": "respond-async"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["respond-async, wait=10"], 10),
        (["wait=10", "respond-async"], 10),
        (["RESPOND-ASYNC", "WAIT = 10"], 10),
        (['respond-async, wait="10"'], 10),
        (["respond-async, wait=10; priority=high"], 10),
        (["respond-async, wait=10, wait=60"], 10),
        (["respond-async, wait=010"], 10),
        (["respond-async, wait=5000"], MAX_WAIT_SECONDS),
        (["respond-async, wait=" + "9" * 10_000], MAX_WAIT_SECONDS),
    ],
)
def test_wait_goes_along_with_respond_async(headers: list[str], seconds: int) -> None:
    found = read_preference(headers)
    assert found == Preference(respond_async=True, wait=seconds)
    assert found.applied == {"Preference-Applied": f"respond-async, wait={seconds}"}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        ["wait=10"],
        ["respond-asynchronously"],
        ["respond-async=false"],
        ["respond-async=no, respond-async"],
        ['foo="respond-async'],
        ['foo="a, respond-async"'],
        ["foo; respond-async"],
        ["return=representation"],
        ["\N{KELVIN SIGN}, respond async"],
        ['"' * 10_000],
    ],
)
def test_other_preferences_are_ignored(headers: list[str]) -> None:
    assert read_preference(headers) == Preference()
    assert Preference().applied == {}
