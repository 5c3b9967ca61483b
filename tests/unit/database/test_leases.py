"""A lease is renewed while its body runs; the body ends when the lease is lost."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from freehold.contracts.errors import Unavailable
from freehold.database.leases import LeaseLostError, kept


class Renewals:
    """Answers each renewal in turn, and the last one for good."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers = list(answers)
        self.count = 0
        self.seventh = asyncio.Event()

    async def __call__(self) -> bool:
        self.count += 1
        if self.count == 7:
            self.seventh.set()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def hold(renew: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60), kept(renew, lease_s=0.1):
        await asyncio.Event().wait()


async def test_a_lease_outlasts_its_length_while_it_is_renewed() -> None:
    # One renewal that fails is made up for by the next.
    renewals = Renewals(True, Unavailable("the catalog does not answer"), True)
    async with kept(renewals, lease_s=1):
        await renewals.seventh.wait()


@pytest.mark.parametrize(
    "answers",
    [(False,), (True, False), (Unavailable("the catalog does not answer"),)],
    ids=["taken over at once", "taken over later", "not renewed for too long"],
)
async def test_the_body_ends_when_the_lease_is_lost(answers: tuple[bool | Exception, ...]) -> None:
    with pytest.raises(LeaseLostError):
        await hold(Renewals(*answers))


async def test_a_renewal_that_hangs_does_not_keep_the_lease() -> None:
    async def hang() -> bool:
        await asyncio.Event().wait()
        return True

    with pytest.raises(LeaseLostError):
        await hold(hang)


@pytest.mark.parametrize("fault", [ValueError("no"), TimeoutError()])
async def test_a_fault_of_the_body_passes_through(fault: Exception) -> None:
    with pytest.raises(type(fault)):
        async with kept(Renewals(True), lease_s=60):
            raise fault
