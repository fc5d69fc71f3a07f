"""Variables that nothing reads, and the setting that was probably meant.

A name one slip away from a setting is refused: the setting would keep its default in silence. A
name that is merely unknown may belong to another program of the machine, and is only logged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches

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
"""Of names that no other program has; those that begin with AZURE_, OPENAI_ or VLLM_ may."""

_IN_ONE_CASE = (*OWN_PREFIXES, "AZUREWEBJOBSSTORAGE__")
"""Of names, in capitals, that count in one letter case only; the Functions host reads its own in
any."""

LOCAL_RUN = ("FOUNDRY_LOCAL_", "FOUNDRY_PORT")
"""Of names that the local run reads."""

ONE_SLIP = 0.9
"""Likeness of a name and the same with one or two letters wrong, missing or too many."""

SOME_LIKENESS = 0.6


def slips(given: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """What is wrong with names that are nearly those of settings."""
    folded = {name.lower(): name for name in known if name.upper().startswith(_IN_ONE_CASE)}
    for name in sorted(name for name in given if name not in known):
        meant = folded.get(name.lower())
        if meant is None and name.upper().startswith(OWN_PREFIXES):
            meant = None if name.startswith(LOCAL_RUN) else nearest(name, known, ONE_SLIP)
        if meant is not None:
            yield f"{name} is no setting: did you mean {meant}?"


def unknown(given: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """Names that look like settings and are none, with the nearest one."""
    for name in sorted(given):
        if name in known or not name.startswith("FOUNDRY_") or name.startswith(LOCAL_RUN):
            continue
        meant = nearest(name, known, SOME_LIKENESS)
        yield f"{name} is no setting" + (f"; did you mean {meant}?" if meant else "")


def nearest(name: str, known: Iterable[str], likeness: float = SOME_LIKENESS) -> str | None:
    """The name that is most like another, if any is like enough."""
    return next(iter(get_close_matches(name, known, 1, likeness)), None)
