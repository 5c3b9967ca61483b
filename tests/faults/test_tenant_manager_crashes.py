"""Tenant-manager killed over its work: a tenant is there whole, or can be asked for again."""

import asyncio
import signal
from typing import Any

from freehold_client import NoAnswerError
from support.answers import found
from support.clients import Freehold, Tenant, event_body, tenant_body
from support.documents import Document
from support.machine import Machine
from support.waiting import eventually

ROUNDS = 3
AT_ONCE = 3


async def test_an_interrupted_creation_is_completed_by_the_same_request(machine: Machine) -> None:
    wanted: list[Document] = []
    for _ in range(ROUNDS):
        asked = [tenant_body() for _ in range(AT_ONCE)]
        wanted += asked
        async with asyncio.TaskGroup() as group:
            for body in asked:
                group.create_task(ask_once(machine.freehold, body))
            await until_one_is_in_the_making(machine)
            await machine.replace("tenant-manager", signal.SIGKILL)

    for body in wanted:
        answer = await machine.freehold.manage("POST", "/tenants", body)
        assert answer.status_code in {200, 201}, answer.text
        # A caller who never got the first key gets another.
        bearer = Tenant(machine.freehold, body["tenant_id"], answer.json().get("api_key", ""))
        if answer.status_code == 200:
            bearer = await bearer.limited_to("ingest", "read")
        event = await bearer.append()
        assert event.seq == 1
        assert (await bearer.caught_up()).head_seq == 1

    await nothing_is_left_over(machine)


async def test_interrupted_databases_of_the_pool_are_dropped(machine: Machine) -> None:
    for _ in range(ROUNDS):
        await until_one_is_made_ahead(machine, is_ready=True)
        # Its successor makes another.
        await machine.new_tenant()
        await until_one_is_made_ahead(machine, is_ready=False)
        await machine.replace("tenant-manager", signal.SIGKILL)
    await nothing_is_left_over(machine)


async def nothing_is_left_over(machine: Machine) -> None:
    async def none() -> bool:
        return await leftovers(machine) == []

    await eventually(none, "nothing is left over")


async def until_one_is_made_ahead(machine: Machine, *, is_ready: bool) -> None:
    async with machine.catalog() as catalog:

        async def begun() -> bool:
            return bool(
                await catalog.fetch("SELECT FROM pool_databases WHERE is_ready = $1", is_ready)
            )

        await eventually(begun, "a database is made ahead", every_s=0.005)


async def test_an_interrupted_deletion_is_completed(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    await tenant.append_batch([event_body() for _ in range(5_000)])
    kept = await other_tenant.append()
    path = f"/tenants/{tenant.tenant_id}"
    operator = machine.freehold.operator
    operation = await operator.delete_tenant(tenant.tenant_id, confirm=tenant.tenant_id)

    for progress in (0.05, 0.6):

        async def so_far(progress: float = progress) -> bool:
            shown = await operator.get_operation(operation.operation_id)
            return shown.progress >= progress and shown.status != "queued"

        await eventually(so_far, f"it has come to {progress}", every_s=0.01)
        await machine.replace("tenant-manager", signal.SIGKILL)

    await machine.freehold.end_of(operation, within_s=120)
    assert found(await machine.freehold.manage("GET", path))["status"] == "deleted"
    export = await machine.freehold.manage("GET", f"{path}/export")
    assert export.text.count("\tCHARGE\t2000\tUSD\t") == 5_000
    assert await leftovers(machine) == []
    await machine.assert_whole(other_tenant, [kept])


async def ask_once(freehold: Freehold, body: Document) -> None:
    try:
        answer = await freehold.manage("POST", "/tenants", body)
    except NoAnswerError:
        return
    assert answer.status_code in {201, 503}, answer.text


async def until_one_is_in_the_making(machine: Machine) -> None:
    async with machine.catalog() as catalog:

        async def begun() -> bool:
            return bool(
                await catalog.fetchval(
                    "SELECT EXISTS (SELECT FROM tenants WHERE status = 'provisioning')"
                )
            )

        await eventually(begun, "a tenant is in the making", every_s=0.005)


async def leftovers(machine: Machine) -> list[Any]:
    """What belongs to no tenant and is not kept ready for one, and tenants that are not whole."""
    async with machine.catalog() as catalog:
        rows = await catalog.fetch(
            "WITH known AS ("
            "  SELECT database_name FROM tenants WHERE status <> 'deleted'"
            "  UNION ALL SELECT database_name FROM pool_databases WHERE is_ready"
            "  UNION ALL SELECT database_name FROM retired_databases WHERE kind = 'former'"
            " )"
            " SELECT datname AS left_over FROM pg_database"
            " WHERE datname ~ '^fh_' AND datname NOT IN (SELECT database_name FROM known)"
            " UNION ALL SELECT rolname FROM pg_roles"
            " WHERE rolname ~ '^fh_'"
            " AND regexp_replace(rolname, '_[a-z]+$', '')"
            " NOT IN (SELECT database_name FROM known)"
            " UNION ALL SELECT tenant_id FROM tenants WHERE status NOT IN ('active', 'deleted')"
        )
    return [row["left_over"] for row in rows]
