"""A ledger that a service does not know how to work with is refused at once, and only that one."""

import pytest

from freehold.ledger.schema import LEDGER_VERSION, LEDGER_VERSION_MIN
from support.answers import created, found, problem
from support.clients import Tenant, event_body
from support.documents import Document
from support.machine import Machine
from support.releases import earlier_release_of
from support.waiting import eventually


@pytest.mark.parametrize(
    ("schema_version", "services_version_min", "named"),
    [
        (LEDGER_VERSION_MIN - 1, 0, LEDGER_VERSION_MIN),
        (LEDGER_VERSION + 2, LEDGER_VERSION + 1, LEDGER_VERSION + 1),
    ],
    ids=["too old", "too new"],
)
async def test_a_tenant_with_an_unsupported_ledger_version_delays_no_other(
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

    written = await eventually(refused, "the ledger is refused")
    read = problem(await tenant.get("/lag"), "ledger-version-unsupported")
    for document in (written, read):
        assert f"version {schema_version} " in document["detail"]
        assert f" {named}" in document["detail"]
    assert (await other_tenant.append()).seq == 1

    await set_version(machine, tenant, LEDGER_VERSION, 0)

    async def served() -> bool:
        return (await tenant.get("/lag")).status_code == 200

    await eventually(served, "the ledger is served again")
    acknowledged.append(await tenant.append(metadata={"key": "after"}))
    await machine.assert_whole(tenant, acknowledged)


async def test_the_earliest_supported_ledger_version_can_do_everything(machine: Machine) -> None:
    """A call that it does not have needs a higher LEDGER_VERSION_MIN."""
    assert LEDGER_VERSION_MIN == LEDGER_VERSION, "make an earlier ledger here"
    (left,) = await earlier_release_of(machine.stack).leave(1)
    path = f"/tenants/{left.tenant_id}"
    key = await machine.freehold.operator.create_api_key(
        left.tenant_id, scopes=["ingest", "read", "audit"]
    )
    tenant = Tenant(machine.freehold, left.tenant_id, key.api_key)
    event = await tenant.append(external_id="ch_1")
    await tenant.append_batch([event_body(), event_body(account_id="cus_1")])
    await tenant.reverse(event.event_id)
    legs = [event_body(amount_minor=5), event_body(account_id="cus_1", amount_minor=-5)]
    transaction = created(await tenant.post("/transactions", {"legs": legs}))
    hold_body = {"account_id": "cus_42", "currency": "USD", "amount_minor": 300}
    hold = created(await tenant.post("/holds", hold_body))
    created(await tenant.post(f"/holds/{hold['hold_id']}/capture", {"amount_minor": 200}))
    await tenant.caught_up()
    assert await tenant.balances("cus_42") == {"USD": 1805}
    assert await tenant.balances("cus_42", consistency="strong") == {"USD": 1805}
    assert len(await tenant.all_balances()) == 2
    assert len(await tenant.all_events()) == 8
    found(await tenant.get(f"/transactions/{transaction['transaction_id']}"))
    found(await tenant.get(f"/holds/{hold['hold_id']}"))
    shown = found(await machine.freehold.manage("GET", path))
    assert (shown["schema_version"], shown["head"]["seq"]) == (LEDGER_VERSION_MIN, 8)
    await machine.assert_whole(tenant, [event])


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
