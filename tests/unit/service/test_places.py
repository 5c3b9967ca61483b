"""A place is given back once: at the end, or when a call takes so long that it must be waiting."""

import asyncio

import pytest

from freehold.service.places import place

LONG_S = 0.05
NEVER_S = 60.0


async def left(places: asyncio.Semaphore) -> int:
    """How many places are left, as whoever takes them finds out."""
    taken = 0
    while not places.locked():
        await places.acquire()
        taken += 1
    for _ in range(taken):
        places.release()
    return taken


async def test_a_short_call_has_its_place_until_the_end() -> None:
    places = asyncio.Semaphore(2)
    async with place(places, long_s=NEVER_S):
        assert await left(places) == 1
        async with place(places, long_s=NEVER_S):
            assert await left(places) == 0
        assert await left(places) == 1
    assert await left(places) == 2


async def test_a_long_call_goes_on_without_a_place_and_gives_back_one_alone() -> None:
    places = asyncio.Semaphore(1)
    async with place(places, long_s=LONG_S):
        async with asyncio.timeout(5), place(places, long_s=NEVER_S):
            assert await left(places) == 0
        assert await left(places) == 1
    assert await left(places) == 1


async def test_a_call_that_has_ended_gives_nothing_back_later() -> None:
    places = asyncio.Semaphore(1)
    async with place(places, long_s=LONG_S):
        pass
    async with place(places, long_s=NEVER_S):
        await asyncio.sleep(3 * LONG_S)
        assert await left(places) == 0
    assert await left(places) == 1


async def test_a_call_that_fails_or_is_cancelled_gives_its_place_back() -> None:
    places = asyncio.Semaphore(1)
    with pytest.raises(ZeroDivisionError):
        async with place(places, long_s=NEVER_S):
            raise ZeroDivisionError
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(LONG_S), place(places, long_s=NEVER_S):
            await asyncio.sleep(NEVER_S)
    assert await left(places) == 1


async def test_whoever_gives_up_waiting_has_taken_none() -> None:
    places = asyncio.Semaphore(1)
    async with place(places, long_s=NEVER_S):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(LONG_S), place(places, long_s=NEVER_S):
                pytest.fail("there was no place")
        assert await left(places) == 0
    assert await left(places) == 1
