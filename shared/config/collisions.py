"""Names of queues and tables that must differ, because each has one use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .rules import POISON_SUFFIX


def colliding_tables(tables: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the names of tables, by setting; letter case does not count in Azure."""
    taken: dict[str, str] = {}
    for setting, name in tables.items():
        if other := taken.get(name.lower()):
            yield f"{setting} names the table of {other}: give each a table of its own"
        taken.setdefault(name.lower(), setting)


def colliding_queues(queues: Mapping[str, str], replies: Mapping[str, list[str]]) -> Iterator[str]:
    """What is wrong with the names of queues, by setting: those of the app, and for replies."""
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
                    f"{setting} cannot be used: entry {position} is the queue of {other}, which "
                    "would take replies for work"
                )
