"""A ledger that a service does not know how to work with is refused at once, and only that one."""

import pytest

from freehold.ledger.schema import LEDGER_VERSION, LEDGER_VERSION_MIN
from support.clients import Document, Tenant, event_body, problem
from support.machine import Machine
from support.waiting import eventually


@pytest.mark.parametrize(
    ("schema_version", "services_version_min", "named"),
    [
        (LEDGER_VERSION_MIN - 1, 0, LEDGER_VERSION_MIN),
        (LEDGER_VERSION + 2, LEDGER_VERSION + 1, LEDGER_VERSION + 1),
    ],
    ids=["too old", "too new"],
)
async def test_a_tenant_with_another_ledger_waits_and_nobody_else_does(
    machine: Machine,
    tenant: Tenant,
    other_tenant: Tenant,
    schema_version: int,
    services_version_min: int,
    named: int,
) -> None:
    acknowledged = [await tenant.append(metadata={"key": "before"})]
    await tenant.caught_up()
    await set_version(machine, tenant, schema_version, services_version_min)

    async def refused() -> Document | None:
        answer = await tenant.post("/events", event_body())
        return problem(answer, "ledger-version-unsupported") if answer.status_code == 503 else None

    written = await eventually(refused, "the ledger is refused", within_s=5)
    read = problem(await tenant.get("/lag"), "ledger-version-unsupported")
    for document in (written, read):
        assert f"version {schema_version} " in document["detail"]
        assert f" {named}" in document["detail"]
    assert (await other_tenant.append())["seq"] == 1

    await set_version(machine, tenant, LEDGER_VERSION, 0)

    async def served() -> bool:
        return (await tenant.get("/lag")).status_code == 200

    await eventually(served, "the ledger is served again", within_s=5)
    acknowledged.append(await tenant.append(metadata={"key": "after"}))
    await machine.assert_whole(tenant, acknowledged)


async def set_version(
    machine: Machine, tenant: Tenant, schema_version: int, services_version_min: int
) -> None:
    async with machine.catalog() as catalog:
        await catalog.execute(
            "UPDATE tenants SET schema_version = $2, services_version_min = $3"
            " WHERE tenant_id = $1",
            tenant.tenant_id,
            schema_version,
            services_version_min,
        )
