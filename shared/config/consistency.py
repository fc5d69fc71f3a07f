"""Checks over all settings: misspelt variables, and names that must differ.

A name that is a misspelt setting is refused, because the setting would silently keep its default.
Any other unknown name may belong to another program, and is only logged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches

from .rules import POISON_SUFFIX

OWN_PREFIXES = (
    "AUDIT_TABLE",
    "AUTH_",
    "BUDGET",
    "CALLBACK_",
    "DELIVERIES_",
    "FOUNDRY_",
    "JOB_",
    "JOBS_",
    "LANES_",
    "METRICS_TABLE",
    "MODEL_PREF",
    "PRICE",
    "RECORD_",
    "REPLY_",
    "RETAIN_",
    "STATE_TABLE",
)
"""Prefixes that only this app uses, unlike AZURE_, OPENAI_ or VLLM_."""

_IN_ONE_CASE = (*OWN_PREFIXES, "AZUREWEBJOBSSTORAGE__")
"""Prefixes of names that must be written in the exact letter case; the Functions host ignores the
case of its own."""

LOCAL_RUN = ("FOUNDRY_LOCAL_", "FOUNDRY_PORT")
"""Prefixes of names that the local run reads."""

ONE_SLIP = 0.9
"""The similarity of two names that differ by one or two wrong, missing or extra letters."""

SOME_LIKENESS = 0.6


def slips(given: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """Yield a problem for each misspelt setting."""
    folded = {name.lower(): name for name in known if name.upper().startswith(_IN_ONE_CASE)}
    for name in sorted(name for name in given if name not in known):
        meant = folded.get(name.lower())
        if meant is None and name.upper().startswith(OWN_PREFIXES):
            meant = None if name.startswith(LOCAL_RUN) else nearest(name, known, ONE_SLIP)
        if meant is not None:
            yield f"{name} is no setting: did you mean {meant}?"


def unknown(given: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """Yield a warning for each unknown `FOUNDRY_` name, with the most similar setting."""
    for name in sorted(given):
        if name in known or not name.startswith("FOUNDRY_") or name.startswith(LOCAL_RUN):
            continue
        meant = nearest(name, known, SOME_LIKENESS)
        yield f"{name} is no setting" + (f"; did you mean {meant}?" if meant else "")


def nearest(name: str, known: Iterable[str], likeness: float = SOME_LIKENESS) -> str | None:
    """The most similar name, if one is similar enough."""
    return next(iter(get_close_matches(name, known, 1, likeness)), None)


def colliding_tables(tables: Mapping[str, str]) -> Iterator[str]:
    """Yield a problem for each table name that two settings share; Azure ignores letter case."""
    taken: dict[str, str] = {}
    for setting, name in tables.items():
        if other := taken.get(name.lower()):
            yield f"{setting} names the table of {other}: give each a table of its own"
        taken.setdefault(name.lower(), setting)


def colliding_queues(queues: Mapping[str, str], replies: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield a problem for each queue name that two settings share, reply queues included."""
    taken: dict[str, str] = {}
    for setting, name in queues.items():
        if other := taken.get(name):
            yield f"{setting} names the queue of {other}: give each a queue of its own"
        taken.setdefault(name, setting)
    used = taken | {name + POISON_SUFFIX: f"poison messages of {s}" for name, s in taken.items()}
    for setting, names in replies.items():
        for position, name in enumerate(names, 1):
            if other := used.get(name):
                yield (
                    f"{setting} cannot be used: entry {position} is the queue of {other}, where "
                    "replies would be read as jobs"
                )
