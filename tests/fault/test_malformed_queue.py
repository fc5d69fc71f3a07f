"""Messages that no producer in its right mind sends: each is accounted for, and no worker dies."""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Callable
from typing import Any

from azure.storage.queue.aio import QueueClient

from local.services import Azurite, FoundryEmulator
from shared.jobs.intake import IntakeMessage
from shared.jobs.queue import WakeUp
from shared.state.keys import Kind, new_id
from shared.state.rejected import REJECTED_PARTITION
from tests.support.served import Deployment
from tests.support.waiting import eventually
from tests.support.world import OWNER, World, running_world

MESSAGES = int(os.environ.get("MALFORMED_MESSAGES", "200"))
SEED = int(os.environ.get("TORTURE_SEED") or random.randrange(2**32))  # noqa: S311
MAX_BODY_BYTES = 48 * 1024
"""As base64, 64 KiB: the most that a queue takes."""

Chance = random.Random
GOOD: dict[str, Any] = {"owner": OWNER, "message": "Hi"}


def any_bytes(chance: Chance) -> bytes:
    return chance.randbytes(chance.choice([0, 1, 7, 300, MAX_BODY_BYTES]))


def deep(chance: Chance) -> bytes:
    depth = chance.choice([100, 10_000, MAX_BODY_BYTES // 2])
    opening, closing = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    depth = min(depth, MAX_BODY_BYTES // (len(opening) + 1) - 10)
    return opening * depth + b"1" + closing * depth


def deep_inside(chance: Chance) -> bytes:
    return b'{"owner":"t:p","message":"Hi","response_format":' + deep(chance)[:40_000] + b"}"


def wrong_types(chance: Chance) -> bytes:
    name = chance.choice(["owner", "message", "messages", "thread_id", "metadata", "not_before"])
    value = chance.choice([None, 5, -1.5, True, [], {}, [[]], {"a": {}}, "", "\u0000", "9" * 400])
    return json.dumps({**GOOD, name: value, "lane": value}).encode()


def many_unknown_fields(chance: Chance) -> bytes:
    size = chance.choice([10, 1000])
    return json.dumps(GOOD | {f"{'x' * 30}{n}": n for n in range(size)}).encode()[:MAX_BODY_BYTES]


def a_huge_number(chance: Chance) -> bytes:
    digits = "9" * chance.choice([30, 5_000, 40_000])
    return f'{{"owner":"t:p","message":"Hi","max_tokens":{digits}}}'.encode()


def cut_short(chance: Chance) -> bytes:
    body = json.dumps(GOOD).encode()
    return body[: chance.randrange(len(body))]


def another_encoding(chance: Chance) -> bytes:
    return json.dumps(GOOD).encode(chance.choice(["utf-16", "utf-32", "utf-8-sig"]))


def odd_dates(chance: Chance) -> bytes:
    moment = chance.choice(
        ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1600-01-01T00:00:00Z", "now"]
    )
    return json.dumps({**GOOD, "not_before": moment}).encode()


def surrogates(chance: Chance) -> bytes:
    name = chance.choice(["message", "owner", "\\ud800"])
    return f'{{"owner":"t:p","message":"Hi","{name}":"\\udc00"}}'.encode()


def at_the_edge(chance: Chance) -> bytes:
    empty = len(json.dumps({**GOOD, "message": ""}))
    over = chance.choice([-1, 0])
    return json.dumps({**GOOD, "message": "x" * (MAX_BODY_BYTES - empty + over)}).encode()


def wrong_keys(chance: Chance) -> bytes:
    odd = chance.choice(["../..", "a/b\\c#d?", "thread_1", "job_" + "Z" * 26, "\u0001", "x" * 600])
    return json.dumps({**GOOD, "thread_id": odd, "lane": odd}).encode()


def an_unknown_lane(chance: Chance) -> bytes:
    kind = chance.choice([Kind.THREAD, Kind.JOB])
    return WakeUp(OWNER, new_id(kind)).to_body()


KINDS: list[Callable[[Chance], bytes]] = [
    any_bytes,
    deep,
    deep_inside,
    wrong_types,
    many_unknown_fields,
    a_huge_number,
    cut_short,
    another_encoding,
    odd_dates,
    surrogates,
    at_the_edge,
    wrong_keys,
    an_unknown_lane,
]


def bodies(count: int) -> list[bytes]:
    """As many messages of all kinds, the same for the same seed."""
    chance = Chance(SEED)
    print(f"malformed messages: seed {SEED}, {count} messages")  # noqa: T201 - shown on failure
    return [KINDS[number % len(KINDS)](chance) for number in range(count)]


def accounts(world: World) -> tuple[int, int, int]:
    """Jobs, notes of rejected messages, and messages on poison queues."""
    notes = len(world.table.rows(REJECTED_PARTITION))
    jobs = sum(
        len([key for key in rows if key.startswith("job:")])
        for partition, rows in world.table.partitions.items()
        if not partition.startswith("$")
    )
    return jobs, notes, len(world.queues.rejected)


async def test_each_message_on_the_intake_is_a_job_or_is_rejected_with_a_note() -> None:
    async with running_world() as world:
        for number, body in enumerate(bodies(MESSAGES)):
            jobs, notes, rejected = accounts(world) if number % 10 == 0 else (0, 0, 0)
            await world.services.workers.intake.receive(
                IntakeMessage(str(number), world.clock(), body)
            )
            if number % 10 == 0:
                more = (jobs + 1, notes, rejected), (jobs, notes + 1, rejected + 1)
                assert accounts(world) in more, body[:200]
        jobs, notes, rejected = accounts(world)
        assert notes == rejected
        assert jobs + rejected == MESSAGES
        print(f"malformed: {MESSAGES} messages, {jobs} jobs, {rejected} rejected with a note")  # noqa: T201
        assert all(row.values["reason"] for row in world.table.rows(REJECTED_PARTITION))


async def test_each_message_on_the_lanes_queue_is_a_wake_up_or_is_rejected() -> None:
    async with running_world() as world:
        for body in bodies(MESSAGES):
            rejected = len(world.queues.rejected)
            await world.services.workers.runner.receive(body)
            is_wake_up = b'"lane": "thread_0' in body or b'"lane": "job_0' in body
            assert len(world.queues.rejected) == rejected + (not is_wake_up), body[:200]


async def test_each_message_on_the_poison_queues_is_taken() -> None:
    async with running_world() as world:
        for number, body in enumerate(bodies(MESSAGES)):
            await world.services.workers.runner.receive_poison(body)
            await world.services.workers.deliveries.receive_poison(body)
            message = IntakeMessage(str(number), world.clock(), body)
            await world.services.workers.intake.receive_poison(message)
            assert world.queues.rejected == [], body[:200]
        _, notes, _ = accounts(world)
        assert notes > 0


async def test_a_running_app_survives_them(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path: Any
) -> None:
    app = Deployment(azurite.connection_string, foundry)
    sent = [body for body in bodies(len(KINDS) * 3) if body]
    owner = "tenant:last"
    with app.serve(tmp_path) as host:
        async with app.queue(app.intake, base64=False) as intake:
            await intake.create_queue()
            await put(intake, sent)
            await put(intake, [json.dumps({"owner": owner, "message": "Alive?"}).encode()])

            async def is_done() -> bool:
                jobs = await app.rows(owner, kind="job:")
                return bool(jobs) and jobs[0]["status"] == "succeeded"

            await eventually(is_done, 60)

            async def all_accounted_for() -> bool:
                jobs = await app.rows(OWNER, "job:")
                notes = await app.rows(REJECTED_PARTITION)
                others = await app.rows("t:p", "job:") + await app.rows("=3F", "job:")
                poison = await app.depth(f"{app.intake}-poison")
                return len(jobs) + len(others) + len(notes) == len(sent) and poison == 0

            await eventually(all_accounted_for, 30)
            assert host.exit_code is None


async def put(intake: QueueClient, messages: list[bytes]) -> None:
    """Put messages as the Functions host expects them."""
    for body in messages:
        await intake.send_message(base64.b64encode(body).decode())
