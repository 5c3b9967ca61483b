"""A tenant's limits: what they let in, when they let in again, and when they are forgotten."""

import asyncio
from dataclasses import dataclass

import pytest

from freehold.contracts.errors import DomainError, TooManyRequests
from freehold.http.problems import Problem
from freehold.tenants.homes import Home
from freehold_ingest.limits import Limits, RefusalPace
from support.homes import new_home
from support.waiting import PATIENCE_S

# What may come at once is two seconds' worth.
EVENTS_PER_S = 10
AT_ONCE = 20


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Limits:
    return Limits(events_per_s=EVENTS_PER_S, requests_max=3, clock=clock)


def home(
    tenant_id: str = "acme", events_per_s: int | None = None, requests: int | None = None
) -> Home:
    return new_home(
        tenant_id=tenant_id, ingest_events_per_s=events_per_s, ingest_requests_max=requests
    )


def let_in(limits: Limits, home: Home, requests: int) -> int:
    """Have requests come one after the other; how many are let in."""
    for number in range(requests):
        try:
            limits.enter(home).leave()
        except DomainError:
            return number
    return requests


def refused(limits: Limits, home: Home) -> int:
    """Have a request refused; return its Retry-After in seconds."""
    with pytest.raises(TooManyRequests) as caught:
        limits.enter(home)
    return int(Problem.of(caught.value).headers["Retry-After"])


def test_more_than_the_rate_is_refused_until_time_has_gone_by(limits: Limits, clock: Clock) -> None:
    acme = home()
    assert let_in(limits, acme, 100) == AT_ONCE
    assert refused(limits, acme) == 1
    clock.now += 0.5
    assert let_in(limits, acme, 100) == EVENTS_PER_S / 2
    clock.now += 3_600
    assert let_in(limits, acme, 100) == AT_ONCE


def test_a_refused_tenant_is_admitted_again_for_several_at_once(
    limits: Limits, clock: Clock
) -> None:
    acme = home(events_per_s=100)
    # Two seconds' worth at first, and all that comes back while they go on and on.
    assert let_in(limits, acme, 1_000) == 200
    rounds = []
    for _ in range(10):
        clock.now += 0.06
        assert refused(limits, acme) == 1
        clock.now += 0.06
        rounds.append(let_in(limits, acme, 1_000))
    assert min(rounds) >= 11
    assert sum(rounds) == pytest.approx(120, abs=1)


def test_a_batch_may_take_what_comes_later_and_the_next_waits_for_it(
    limits: Limits, clock: Clock
) -> None:
    acme = home()
    limits.enter(acme)
    limits.spend(acme, AT_ONCE + 55)
    wait_s = refused(limits, acme)
    assert wait_s == 6
    clock.now += wait_s - 0.5
    assert refused(limits, acme) == 1
    clock.now += 0.5
    limits.enter(acme)


def test_of_batches_that_come_together_no_more_than_one_goes_over(limits: Limits) -> None:
    acme = home()
    for _ in range(3):
        limits.enter(acme)
    limits.spend(acme, 10_000)
    with pytest.raises(DomainError) as caught:
        limits.spend(acme, 10_000)
    assert isinstance(caught.value, TooManyRequests)


def test_events_that_were_appended_are_counted_whatever_is_left(limits: Limits) -> None:
    acme = home()
    for _ in range(2):
        limits.enter(acme)
    for _ in range(2):
        limits.charge(acme, AT_ONCE + 6)
    assert refused(limits, acme) == 4


def test_three_requests_at_once_and_no_more(limits: Limits) -> None:
    acme = home()
    inside = [limits.enter(acme) for _ in range(3)]
    assert refused(limits, acme) == 1
    inside[0].leave()
    limits.enter(acme)
    assert refused(limits, acme) == 1


def test_one_tenants_limit_does_not_affect_another(limits: Limits) -> None:
    acme, other = home(), home("other")
    let_in(limits, acme, 100)
    for _ in range(3):
        limits.enter(other)
    assert refused(limits, acme) == refused(limits, other) == 1


def test_a_limit_in_the_catalog_applies_at_once(limits: Limits, clock: Clock) -> None:
    let_in(limits, home(), 100)
    faster = home(events_per_s=1_000)
    assert refused(limits, faster) == 1
    clock.now += 0.1
    assert let_in(limits, faster, 1_000) == 100
    clock.now += 60
    slower = home(events_per_s=1, requests=1)
    assert let_in(limits, slower, 100) == 2
    clock.now += 1
    limits.enter(slower)
    assert refused(limits, slower) == 1
    # Lifted: what the settings say, and who is inside is still counted.
    lifted = home()
    clock.now += 60
    limits.enter(lifted)
    limits.enter(lifted)
    assert refused(limits, lifted) == 1


async def test_a_request_that_can_wait_is_admitted_in_time() -> None:
    limits = Limits(events_per_s=1_000, requests_max=1)
    acme = home()
    limits.enter(acme)
    limits.spend(acme, 2_100)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await limits.spend_in_time(acme, 1)
    async with asyncio.timeout(PATIENCE_S):
        await limits.spend_in_time(acme, 5_000)
    assert refused(limits, acme) >= 1


async def test_a_flood_of_refusals_leaves_time_to_others_and_is_held_back_in_order() -> None:
    pace = RefusalPace()
    order: list[int] = []

    async def refuse(number: int) -> None:
        await pace.wait()
        order.append(number)

    flood = [asyncio.create_task(refuse(number)) for number in range(300)]
    for _ in range(3):
        await asyncio.sleep(0)
    # The first five, and those for whom there is no place to wait.
    assert sorted(order) == [*range(5), *range(256, 300)]
    flood[5].cancel()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*flood, return_exceptions=True)
    assert [number for number in order if number < 256] == [*range(5), *range(6, 256)]


def test_buckets_are_forgotten_when_they_are_full_again(limits: Limits, clock: Clock) -> None:
    staying = limits.enter(home("staying"))
    spent = home("spent")
    limits.enter(spent).leave()
    limits.spend(spent, 100_000)
    for number in range(10_000):
        limits.enter(home(f"t-{number}")).leave()
        clock.now += 0.1
    assert len(limits) < 2_000
    assert limits.enter(home("staying")) is staying
    assert refused(limits, spent) > 1
