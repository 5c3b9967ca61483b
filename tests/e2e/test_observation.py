"""A stack with OBSERVE=1: Prometheus sees every process, and each query that we ship answers.

Every rule and panel is asked of the real Prometheus, while there is traffic. A condition
of an alert that does not hold answers nothing: it is asked whether it holds.
"""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from freehold_local.installation import find_prometheus
from freehold_local.stack import Stack
from freehold_observe.dashboards import dashboards
from support.answers import found
from support.clients import Tenant, event_body, reaching
from support.live import listening
from support.stacks import addresses_of, private_stack
from support.waiting import ALL_TENANTS_S, eventually

pytestmark = pytest.mark.local

PANEL_VARIABLES = {"$__rate_interval": "1m", "$service": ".+"}
COMPARISON = re.compile(r" (==|!=|>=|<=|>|<) (?!bool )")


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if find_prometheus() is None:
        pytest.skip("Prometheus is missing: it is Debian's package prometheus")
    with private_stack(tmp_path_factory.mktemp("observed"), durable=False, observe=True) as stack:
        yield stack


@pytest.fixture(scope="module")
async def prometheus(observed: Stack) -> AsyncIterator[httpx.AsyncClient]:
    base = f"{observed.prometheus_url}/api/v1"
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
        yield client


async def ask(prometheus: httpx.AsyncClient, path: str, **params: str) -> Any:
    answer = await prometheus.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def answers(prometheus: httpx.AsyncClient, query: str) -> bool:
    """Whether a query answers a number. That of a division by zero is none."""
    result = (await ask(prometheus, "/query", query=query))["result"]
    return any(not math.isnan(float(series["value"][1])) for series in result)


async def queries(prometheus: httpx.AsyncClient) -> set[str]:
    """Give each query of the panels, and of the rules as Prometheus has loaded them."""
    groups = (await ask(prometheus, "/rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    asked = {rule["name"] for rule in rules if rule["type"] == "recording"}
    asked |= {
        COMPARISON.sub(r" \1 bool ", rule["query"]) for rule in rules if rule["type"] == "alerting"
    }
    for text in dashboards().values():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"]
                for name, value in PANEL_VARIABLES.items():
                    expression = expression.replace(name, value)
                asked.add(expression)
    return asked


async def keep_busy(tenant: Tenant) -> None:
    """Append and read without end, with a live stream open."""
    async with listening(tenant):
        while True:
            await tenant.append_batch([event_body(account_id="cus_1") for _ in range(20)])
            await tenant.append(account_id="cus_2")
            await tenant.caught_up()
            await tenant.balances("cus_1")
            found(await tenant.get("/balances"))
            await asyncio.sleep(0.5)


async def back_up(tenant: Tenant) -> None:
    """Have a tenant's backup made, and restored on trial."""
    operator = tenant.freehold.operator
    made = await tenant.freehold.result_of(await operator.create_backup(tenant.tenant_id))
    trial = await operator.verify_backup(tenant.tenant_id, made["backup_id"])
    await tenant.freehold.end_of(trial)


async def test_every_process_is_watched(observed: Stack, prometheus: httpx.AsyncClient) -> None:
    async def watched() -> set[str]:
        targets = (await ask(prometheus, "/targets"))["activeTargets"]
        up = {target["labels"]["job"] for target in targets if target["health"] == "up"}
        return up if len(up) == len(targets) else set()

    services = {"ingest", "projector", "query", "tenant-manager"}
    assert await eventually(watched, "every target is up") == services


async def test_every_query_answers(observed: Stack, prometheus: httpx.AsyncClient) -> None:
    silent = await queries(prometheus)
    assert len(silent) > 70
    async with reaching(addresses_of(observed)) as freehold:
        tenant = await freehold.new_tenant()
        traffic = asyncio.create_task(keep_busy(tenant))

        async def all_answer() -> bool:
            if traffic.done():
                traffic.result()
            for query in list(silent):
                if await answers(prometheus, query):
                    silent.discard(query)
            return not silent

        try:
            await back_up(tenant)
            with suppress(AssertionError):
                await eventually(all_answer, "answers", within_s=ALL_TENANTS_S, every_s=2)
        finally:
            traffic.cancel()
    assert silent == set()
