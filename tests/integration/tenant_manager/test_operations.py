"""Operations: done once, gone on with by others, told to whoever asks."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from freehold.contracts.errors import NotFound, Unavailable
from freehold.database.leases import LeaseLostError
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.operations import Operation
from freehold_tenant_manager.operations import operations as module
from freehold_tenant_manager.operations.operations import Handler, Operations, Running
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import make_tenant
from support.answers import pointers, problem
from support.operations import operation_ended
from support.waiting import eventually


@pytest.fixture
async def catalog(settings: Settings, app: FastAPI) -> AsyncIterator[Catalog]:
    """The catalog, set up by a tenant-manager that knows nothing of the kinds used here."""
    catalog = Catalog(
        settings.catalog_dsn.get_secret_value(), application="test", timeout_s=5, pool_max=4
    )
    await catalog.open()
    yield catalog
    await catalog.close()


@pytest.fixture
def kind() -> str:
    return f"kind-{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def tenant_id(manager: httpx.AsyncClient) -> str:
    return await make_tenant(manager)


@asynccontextmanager
async def working(
    catalog: Catalog, handlers: dict[str, Handler], *, silent_s: float = 15
) -> AsyncIterator[Operations]:
    operations = Operations(catalog, in_flight_max=4, silent_s=silent_s)
    for kind, handler in handlers.items():
        operations.handle(kind, handler)
    await operations.open()
    try:
        yield operations
    finally:
        await operations.close()


async def shown(manager: httpx.AsyncClient, operation: Operation) -> Operation:
    answer = await manager.get(f"/v1/operations/{operation.operation_id}")
    assert answer.status_code == 200
    return Operation.model_validate_json(answer.content)


async def ended(manager: httpx.AsyncClient, operation: Operation) -> Operation:
    return Operation.model_validate(await operation_ended(manager, operation.operation_id))


async def test_an_operation_shows_its_progress_and_result(
    catalog: Catalog, manager: httpx.AsyncClient, kind: str, tenant_id: str
) -> None:
    go_on = asyncio.Event()

    async def work(running: Running) -> dict[str, Any]:
        await running.save(0.25, "counting", counted=1)
        await go_on.wait()
        return {"counted": running.state["counted"], "of": running.tenant}

    async with working(catalog, {kind: work}) as operations:
        asked = await operations.submit(kind, tenant_id, {"how": "well"})
        # It may have begun already.
        assert asked.status in {"queued", "running"}
        assert (asked.progress, asked.finished_at) == (0, None)

        async def is_counting() -> bool:
            return (await shown(manager, asked)).message == "counting"

        await eventually(is_counting, "it begins")
        half = await shown(manager, asked)
        assert (half.status, half.progress, half.result) == ("running", 0.25, None)
        go_on.set()
        end = await ended(manager, asked)
    assert (end.status, end.progress) == ("succeeded", 1)
    assert end.result == {"counted": 1, "of": tenant_id}


async def test_the_same_operation_is_queued_once(
    catalog: Catalog, manager: httpx.AsyncClient, kind: str, tenant_id: str
) -> None:
    async def work(_: Running) -> dict[str, Any]:
        return {}

    # Nobody works yet.
    idle = Operations(catalog, in_flight_max=1, silent_s=15)
    asked = await asyncio.gather(*(idle.submit(kind, tenant_id, {"a": 1}) for _ in range(5)))
    assert len({operation.operation_id for operation in asked}) == 1
    other = await idle.submit(kind, tenant_id, {"a": 2})
    assert other.operation_id != asked[0].operation_id
    async with working(catalog, {kind: work}) as operations:
        await ended(manager, asked[0])
        again = await operations.submit(kind, tenant_id, {"a": 1})
        assert again.operation_id != asked[0].operation_id
        await ended(manager, again)


async def test_a_failure_shows_its_reason_and_no_internals(
    catalog: Catalog, manager: httpx.AsyncClient, kind: str
) -> None:
    async def refuse(_: Running) -> dict[str, Any]:
        raise NotFound("there is no such backup")

    async def break_off(_: Running) -> dict[str, Any]:
        raise RuntimeError("the password is tomato")

    async with working(catalog, {kind: refuse, f"{kind}-b": break_off}) as operations:
        refused = await ended(manager, await operations.submit(kind))
        broken = await ended(manager, await operations.submit(f"{kind}-b"))
    assert (refused.status, refused.message) == ("failed", "there is no such backup")
    assert broken.status == "failed"
    assert "tomato" not in broken.model_dump_json()


async def test_an_operation_waits_for_what_is_unavailable(
    catalog: Catalog, manager: httpx.AsyncClient, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_FIRST_S", 0.01)
    tries = 0

    async def work(running: Running) -> dict[str, Any]:
        nonlocal tries
        tries += 1
        await running.save(tries / 10, "trying", tries=tries)
        if tries < 4:
            raise Unavailable("the storage does not answer")
        return {"tries": running.state["tries"]}

    async with working(catalog, {kind: work}) as operations:
        end = await ended(manager, await operations.submit(kind))
    assert end.result == {"tries": 4}


async def test_another_process_continues_the_operation_of_a_dead_one(
    catalog: Catalog, manager: httpx.AsyncClient, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = asyncio.Event()
    of_others = asyncio.all_tasks()

    async def die(running: Running) -> dict[str, Any]:
        await running.save(0.5, "half", done=["a"])
        stuck.set()
        await asyncio.Event().wait()
        return {}

    async def go_on(running: Running) -> dict[str, Any]:
        return {"done": [*running.state["done"], "b"]}

    async with working(catalog, {kind: die}, silent_s=1) as operations:
        asked = await operations.submit(kind)
        await stuck.wait()
        # As if dead: it renews nothing and gives nothing back.
        for task in asyncio.all_tasks() - of_others:
            name = getattr(task.get_coro(), "__name__", "")
            if name in ("keep_renewing", "_look_repeatedly"):
                task.cancel()
        monkeypatch.setattr(module, "give_operations_back", lambda *_: asyncio.sleep(0))
        async with working(catalog, {kind: go_on}, silent_s=1):
            end = await ended(manager, asked)
    assert end.result == {"done": ["a", "b"]}


async def test_a_process_that_lost_its_lease_saves_nothing(
    catalog: Catalog, manager: httpx.AsyncClient, kind: str
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    fate: list[str] = []

    async def work(running: Running) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        try:
            await running.save(0.9, "too late")
        except LeaseLostError:
            fate.append("lost")
            raise
        return {"by": "the first"}

    async with working(catalog, {kind: work}) as operations:
        asked = await operations.submit(kind)
        await begun.wait()
        await catalog.execute(
            "UPDATE operations SET status = 'succeeded', leased_by = NULL, finished_at = now(),"
            ' result = \'{"by": "the second"}\' WHERE operation_id = $1',
            asked.operation_id,
        )
        go_on.set()
        await eventually(lambda: _true(bool(fate)), "it hears of that")
    assert (await shown(manager, asked)).result == {"by": "the second"}


async def test_operations_of_a_stopped_process_continue_at_once(
    catalog: Catalog, manager: httpx.AsyncClient, kind: str
) -> None:
    begun = asyncio.Event()

    async def wait(running: Running) -> dict[str, Any]:
        await running.save(0.5, "half", first=True)
        begun.set()
        await asyncio.Event().wait()
        return {}

    async def go_on(running: Running) -> dict[str, Any]:
        return dict(running.state)

    async with working(catalog, {kind: wait}) as operations:
        asked = await operations.submit(kind)
        await begun.wait()
    assert (await shown(manager, asked)).status == "queued"
    async with working(catalog, {kind: go_on}):
        end = await ended(manager, asked)
    assert end.result == {"first": True}


async def test_one_operation_of_a_tenant_runs_at_a_time(
    catalog: Catalog, manager: httpx.AsyncClient, kind: str, tenant_id: str
) -> None:
    other = await make_tenant(manager)
    at_work: list[str] = []
    seen: list[tuple[str, ...]] = []

    async def work(running: Running) -> dict[str, Any]:
        at_work.append(running.tenant)
        seen.append(tuple(at_work))
        await asyncio.sleep(0.2)
        at_work.remove(running.tenant)
        return {}

    async with (
        working(catalog, {kind: work, f"{kind}-b": work}) as operations,
        working(catalog, {kind: work, f"{kind}-b": work}),
    ):
        asked = [
            await operations.submit(name, tenant, {"n": n})
            for name in (kind, f"{kind}-b")
            for tenant in (tenant_id, other)
            for n in range(2)
        ]
        for operation in asked:
            assert (await ended(manager, operation)).status == "succeeded"
    assert all(len(set(tenants)) == len(tenants) for tenants in seen)
    assert max(map(len, seen)) == 2


async def test_operations_are_listed_the_newest_first(
    catalog: Catalog, manager: httpx.AsyncClient, kind: str, tenant_id: str
) -> None:
    idle = Operations(catalog, in_flight_max=1, silent_s=15)
    asked = [str((await idle.submit(kind, tenant_id, {"n": n})).operation_id) for n in range(5)]
    found: list[str] = []
    cursor = None
    while True:
        page: dict[str, str] = {"cursor": cursor} if cursor else {}
        query = {"tenant_id": tenant_id, "status": "queued", "limit": "2", **page}
        body = (await manager.get("/v1/operations", params=query)).json()
        found += [operation["operation_id"] for operation in body["data"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
    assert found == asked[::-1]
    nothing = {"tenant_id": tenant_id, "status": "failed"}
    assert (await manager.get("/v1/operations", params=nothing)).json()["data"] == []


@pytest.mark.parametrize("name", ["x", "0b9c2f6a-4d1e-4c3b-9a7d-5e8f1a2b3c4d", "%00"])
async def test_an_unknown_operation_is_not_found(manager: httpx.AsyncClient, name: str) -> None:
    answer = await manager.get(f"/v1/operations/{name}")
    problem(answer, "not-found")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [("status=done", "/status"), ("tenant_id=A", "/tenant_id"), ("kind=x", "/kind")],
)
async def test_bad_filters_are_refused(
    manager: httpx.AsyncClient, query: str, pointer: str
) -> None:
    answer = await manager.get(f"/v1/operations?{query}")
    assert pointers(answer) == [pointer]


async def test_a_cursor_is_good_for_the_same_filters_only(
    catalog: Catalog, manager: httpx.AsyncClient, kind: str, tenant_id: str
) -> None:
    idle = Operations(catalog, in_flight_max=1, silent_s=15)
    for n in range(2):
        await idle.submit(kind, tenant_id, {"n": n})
    first = await manager.get(f"/v1/operations?tenant_id={tenant_id}&limit=1")
    answer = await manager.get(f"/v1/operations?limit=1&cursor={first.json()['next_cursor']}")
    assert answer.status_code == 422


async def _true(value: bool) -> bool:
    return value
