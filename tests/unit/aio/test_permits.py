"""A permit is returned once: at the end, or when a call takes so long that it must be waiting."""

import asyncio

import pytest

from freehold.aio.permits import permit

LONG_S = 0.05
NEVER_S = 60.0


async def left(permits: asyncio.Semaphore) -> int:
    """Count the permits that are left by taking them all."""
    taken = 0
    while not permits.locked():
        await permits.acquire()
        taken += 1
    for _ in range(taken):
        permits.release()
    return taken


async def test_a_short_call_has_its_permit_until_the_end() -> None:
    permits = asyncio.Semaphore(2)
    async with permit(permits, long_s=NEVER_S):
        assert await left(permits) == 1
        async with permit(permits, long_s=NEVER_S):
            assert await left(permits) == 0
        assert await left(permits) == 1
    assert await left(permits) == 2


async def test_a_long_call_goes_on_without_a_permit_and_gives_back_one_alone() -> None:
    permits = asyncio.Semaphore(1)
    async with permit(permits, long_s=LONG_S):
        async with asyncio.timeout(NEVER_S), permit(permits, long_s=NEVER_S):
            assert await left(permits) == 0
        assert await left(permits) == 1
    assert await left(permits) == 1


async def test_a_call_that_has_ended_gives_nothing_back_later() -> None:
    permits = asyncio.Semaphore(1)
    async with permit(permits, long_s=LONG_S):
        pass
    async with permit(permits, long_s=NEVER_S):
        await asyncio.sleep(3 * LONG_S)
        assert await left(permits) == 0
    assert await left(permits) == 1


async def test_a_call_that_fails_or_is_cancelled_gives_its_permit_back() -> None:
    permits = asyncio.Semaphore(1)
    with pytest.raises(ZeroDivisionError):
        async with permit(permits, long_s=NEVER_S):
            raise ZeroDivisionError
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(LONG_S), permit(permits, long_s=NEVER_S):
            await asyncio.sleep(NEVER_S)
    assert await left(permits) == 1


async def test_a_call_that_gives_up_waiting_has_taken_none() -> None:
    permits = asyncio.Semaphore(1)
    async with permit(permits, long_s=NEVER_S):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(LONG_S), permit(permits, long_s=NEVER_S):
                pytest.fail("there was no permit")
        assert await left(permits) == 0
    assert await left(permits) == 1
