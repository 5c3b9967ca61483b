"""Sending the traffic: many requests at once, some of them deliberately twice."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from freehold_client import AsyncFreehold
from freehold_local.demo.traffic import Post, Shop, Traffic
from freehold_local.errors import StackError

CONNECTIONS = 8
_RETRY_SHARE = 0.03


@dataclass
class Tenant:
    """A shop that has been provisioned, and what became of its traffic."""

    shop: Shop
    tenant_id: str
    api_key: str
    freehold: AsyncFreehold
    traffic: Traffic
    seconds: float = 0.0
    retries: int = 0
    retries_replayed: int = 0
    event_ids: dict[str, str] = field(default_factory=dict)


async def send(tenant: Tenant, advance: Callable[[int], None]) -> None:
    """Send a tenant's traffic, then its reversals; deliberate retries among both.

    Raises:
        StackError: A request was refused.
    """
    started = time.perf_counter()
    chance = random.Random(tenant.shop.seed)  # noqa: S311 (a fixed seed is the point)
    wanted = set(tenant.traffic.reversed_external_ids)
    await _all(tenant, tenant.traffic.posts, advance, chance, wanted)
    reversals = [
        Post(
            f"/v1/events/{tenant.event_ids[external_id]}/reversal",
            f"reverse-{external_id}",
            {"reason": "customer changed their mind"},
            1,
        )
        for external_id in tenant.traffic.reversed_external_ids
    ]
    await _all(tenant, reversals, advance, chance, set())
    tenant.seconds = time.perf_counter() - started


async def _all(
    tenant: Tenant,
    posts: list[Post],
    advance: Callable[[int], None],
    chance: random.Random,
    wanted: set[str],
) -> None:
    waiting = iter(posts)

    async def work() -> None:
        for post in waiting:
            again = chance.random() < _RETRY_SHARE
            answer = await _post(tenant, post)
            _remember(tenant, answer, wanted)
            if again:
                tenant.retries += 1
                repeated = await _post(tenant, post)
                same = repeated.content == answer.content
                replayed = repeated.headers.get("Idempotency-Replayed") == "true"
                tenant.retries_replayed += same and replayed
            advance(post.events)

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))


async def _post(tenant: Tenant, post: Post) -> httpx.Response:
    answer = await tenant.freehold.request(
        "POST", post.path, json=post.body, idempotency_key=post.key
    )
    if answer.status_code != 201:
        raise StackError(f"{post.path} answered {answer.status_code}: {answer.text}")
    return answer


def _remember(tenant: Tenant, answer: httpx.Response, wanted: set[str]) -> None:
    document = answer.json()
    for event in document.get("events", [document]):
        if event["external_id"] in wanted:
            tenant.event_ids[event["external_id"]] = event["event_id"]
