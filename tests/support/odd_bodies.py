"""Bodies of messages and jobs with anything at all in their fields: strategies for fuzzing."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import strategies as st

KEYWORDS = """type properties required items prefixItems anyOf oneOf allOf not if then else $ref
$defs $id enum const pattern patternProperties additionalProperties unevaluatedProperties minimum
multipleOf maxLength uniqueItems contains propertyNames dependentSchemas format $schema $dynamicRef
schema json_schema name strict title""".split()  # noqa: SIM905 - as a list, it is a page long
WORDS = """object array string integer null json_schema json_object text # #/ #/$defs/a
#/properties http://127.0.0.1/x (a+)+$ a{1000}{1000} (?=x) [ \\p{L}{9} date-time name a
$defs""".split()  # noqa: SIM905

texts = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(WORDS)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(10**400)
scalars = st.none() | st.booleans() | numbers | texts
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
schemas = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYWORDS) | texts, inner, max_size=5)
    ),
    max_leaves=20,
)


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    """Schemas that get as far as to be compiled."""
    return {
        **draw(st.dictionaries(st.sampled_from(KEYWORDS), schemas, max_size=5)),
        "type": "object",
    }


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8)).decode()
beginnings = st.sampled_from(
    ["data:", "DATA:image/png;base64,", "data:image/png;base64,\u00e9", "https://", "//", "http:["]
)
images = st.lists(
    st.builds("{}{}".format, beginnings, texts | st.just(PNG)) | texts | scalars, max_size=4
)
OPTIONS = {
    "images": images | anything,
    "response_format": objects() | schemas | anything,
    "metadata": st.dictionaries(texts, texts, max_size=4) | anything,
    "tools": st.lists(texts, max_size=4) | anything,
}
bodies = st.fixed_dictionaries({"message": texts}, optional=OPTIONS)

SANE: dict[str, st.SearchStrategy[Any]] = {
    "message": texts | st.sampled_from(["/answer {}", '/answer {"a": [1, "x"]}', "/words 3"]),
    "images": st.lists(st.just(f"data:image/png;base64,{PNG}"), max_size=2),
    "response_format": objects(),
    "metadata": st.dictionaries(st.text(max_size=64), st.text(max_size=512), max_size=16),
    "tools": st.lists(st.sampled_from(["data_analysis", "web_search"]), max_size=3),
    "domain": texts,
    "system_prompt": texts,
    "model": st.just("llama-3.3-70b"),
    "temperature": st.floats(0, 2),
    "max_tokens": st.integers(1, 4096),
    "top_p": st.floats(0, 1),
    "messages": st.lists(texts, max_size=3),
    "thread_id": st.from_regex(r"thread_[0-7][0-9A-HJKMNP-TV-Z]{25}", fullmatch=True),
    "new_thread": st.booleans(),
    "not_before": st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()),
    "expires_in": st.integers(1, 30 * 86_400),
    "max_attempts": st.integers(1, 20),
    "stop_lane_on_failure": st.booleans(),
    "callback_url": st.just("https://example.com/x") | texts,
    "reply_queue": texts,
    "owner": st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
    "job_id": st.from_regex(r"job_[0-7][0-9A-HJKMNP-TV-Z]{25}", fullmatch=True),
    "traceparent": st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", fullmatch=True) | texts,
}
"""Values that are often taken."""

JOB_ONLY = ("messages", "thread_id", "new_thread", "not_before", "expires_in", "max_attempts")
JOB_ONLY += ("stop_lane_on_failure", "callback_url", "reply_queue")
QUEUE_ONLY = ("owner", "job_id", "traceparent")
QUEUEING = tuple(SANE)
SUBMITTING = tuple(name for name in SANE if name not in QUEUE_ONLY)
SENDING = tuple(name for name in SUBMITTING if name not in JOB_ONLY)


@st.composite
def bodies_with(draw: st.DrawFn, fields: tuple[str, ...]) -> dict[str, Any]:
    """A message and at most three other fields, most of which would be let in alone."""
    body: dict[str, Any] = {"message": draw(SANE["message"])}
    for name in draw(st.lists(st.sampled_from(fields), max_size=3, unique=True)):
        odd = OPTIONS.get(name, anything)
        body[name] = draw(st.one_of(SANE[name], SANE[name], odd))
    if draw(st.integers(0, 19)) == 7:
        body[draw(texts)] = draw(anything)
    return body
