"""A tenant's limits: set by the operator, shown to them, and heard of by ingest."""

import asyncio
from typing import Any

import httpx
import pytest

from freehold.tenants.directory import Directory
from freehold_tenant_manager.contracts.tenants import Tenant
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import Installation, new_tenant
from support.answers import pointers, problem
from support.waiting import PATIENCE_S

NONE = {"events_per_s": None, "requests_max": None}


@pytest.fixture
async def path(manager: httpx.AsyncClient) -> str:
    """The path of a new tenant."""
    wanted = new_tenant()
    made = (await manager.post("/v1/tenants", json=wanted)).json()["tenant"]
    assert made["limits"] == NONE
    return f"/v1/tenants/{wanted['tenant_id']}"


@pytest.mark.parametrize(
    ("body", "limits"),
    [
        ({"events_per_s": 500, "requests_max": 20}, {"events_per_s": 500, "requests_max": 20}),
        ({"events_per_s": 1}, {"events_per_s": 1, "requests_max": None}),
        ({"requests_max": 10_000}, {"events_per_s": None, "requests_max": 10_000}),
        ({"events_per_s": 1_000_000, "requests_max": None}, {**NONE, "events_per_s": 1_000_000}),
        ({}, NONE),
    ],
)
async def test_limits_are_set_as_a_whole_and_shown(
    manager: httpx.AsyncClient, path: str, body: dict[str, Any], limits: dict[str, Any]
) -> None:
    await manager.put(f"{path}/limits", json={"events_per_s": 7, "requests_max": 7})
    answer = await manager.put(f"{path}/limits", json=body)
    assert answer.status_code == 200, answer.text
    assert Tenant.model_validate_json(answer.content).limits.model_dump() == limits
    shown = (await manager.get(path)).json()
    assert shown["limits"] == limits
    assert shown.items() >= answer.json().items()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"events_per_s": 0}, "/events_per_s"),
        ({"events_per_s": -1}, "/events_per_s"),
        ({"events_per_s": 1_000_001}, "/events_per_s"),
        ({"events_per_s": 1.0}, "/events_per_s"),
        ({"events_per_s": "500"}, "/events_per_s"),
        ({"events_per_s": True}, "/events_per_s"),
        ({"requests_max": 0}, "/requests_max"),
        ({"requests_max": 10_001}, "/requests_max"),
        ({"requests_max": [20]}, "/requests_max"),
        ({"events": 500}, "/events"),
        ([], ""),
    ],
)
async def test_bad_limits_are_refused_and_change_nothing(
    manager: httpx.AsyncClient, path: str, body: Any, pointer: str
) -> None:
    answer = await manager.put(f"{path}/limits", json=body)
    assert pointers(answer) == [pointer]
    assert (await manager.get(path)).json()["limits"] == NONE


async def test_an_unknown_tenant_has_no_limits(manager: httpx.AsyncClient) -> None:
    for tenant_id in ("unknown", "Unknown", "%00"):
        answer = await manager.put(f"/v1/tenants/{tenant_id}/limits", json={"events_per_s": 500})
        problem(answer, "not-found")


async def test_ingest_applies_new_limits_at_once(
    manager: httpx.AsyncClient, path: str, installation: Installation, settings: Settings
) -> None:
    async with asyncio.timeout(PATIENCE_S), installation.directory(settings, "ingest") as directory:
        for limits in ((500, 20), (None, 20), (None, None)):
            body = dict(zip(("events_per_s", "requests_max"), limits, strict=True))
            await manager.put(f"{path}/limits", json=body)
            while await _limits(directory, path) != limits:  # noqa: ASYNC110 (as others do)
                await asyncio.sleep(0.01)


async def _limits(directory: Directory, path: str) -> tuple[int | None, int | None]:
    home = await directory.home(path.rpartition("/")[2])
    assert home is not None
    return home.ingest_events_per_s, home.ingest_requests_max
