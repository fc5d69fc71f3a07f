"""Places for requests in flight: who gets one, and what becomes of one that is given up."""

from __future__ import annotations

import asyncio

from shared.foundry.places import Places


async def take(places: Places, order: list[int], number: int) -> None:
    await places.take()
    order.append(number)


async def waiting(places: Places, number: int) -> tuple[list[int], list[asyncio.Task[None]]]:
    """Who got a place, and those that ask for one."""
    order: list[int] = []
    tasks = [asyncio.create_task(take(places, order, each)) for each in range(number)]
    await asyncio.sleep(0)
    return order, tasks


async def test_places_are_given_in_the_order_of_asking() -> None:
    places = Places(2)
    order, tasks = await waiting(places, 4)
    assert (order, places.taken) == ([0, 1], 2)
    for expected in ([0, 1, 2], [0, 1, 2, 3]):
        places.give_back()
        await asyncio.sleep(0)
        assert order == expected
    await asyncio.gather(*tasks)


async def test_more_places_are_given_at_once_and_fewer_are_taken_back_slowly() -> None:
    places = Places(1)
    order, tasks = await waiting(places, 4)
    places.resize(3)
    await asyncio.sleep(0)
    assert (order, places.taken) == ([0, 1, 2], 3)
    places.resize(1)
    places.give_back()
    places.give_back()
    await asyncio.sleep(0)
    assert (len(order), places.taken) == (3, 1)
    places.give_back()
    await asyncio.gather(*tasks)
    assert places.taken == 1


async def test_a_place_is_not_lost_with_one_that_gives_up() -> None:
    places = Places(1)
    order, tasks = await waiting(places, 3)
    tasks[1].cancel()
    places.give_back()
    tasks[2].cancel()  # in the moment in which it is given the place
    await asyncio.wait(tasks)
    assert (order, places.taken) == ([0], 0)
    await asyncio.wait_for(places.take(), 1)
