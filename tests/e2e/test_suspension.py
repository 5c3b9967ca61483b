"""Suspended tenants: every request is refused, and nothing is lost."""

import httpx

from support.answers import found, problem
from support.clients import Freehold, Tenant, event_body
from support.documents import Document
from support.uploads import lines, uploading
from support.upstream import Upstream, accepted, kept_problem, refusal
from support.waiting import eventually


async def move(tenant: Tenant, verb: str) -> Document:
    """Suspend or resume a tenant."""
    path = f"/tenants/{tenant.tenant_id}/{verb}"
    return found(await tenant.freehold.manage("POST", path))


async def until_status(tenant: Tenant, status: int) -> None:
    """Wait until both services answer the tenant like this."""

    async def there() -> bool:
        answers = (await tenant.post("/events", event_body()), await tenant.get("/events"))
        return answers[0].status_code == status and answers[1].status_code in {status, 200}

    await eventually(there, f"requests are answered {status}")


async def test_a_suspended_tenant_is_refused_by_every_service_until_resumed(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    event = await tenant.append(account_id="cus_42")
    before = await tenant.caught_up()
    for _ in range(2):
        assert (await move(tenant, "suspend"))["status"] == "suspended"
    await until_status(tenant, 403)

    refused: list[httpx.Response] = [
        await tenant.post("/events", event_body()),
        await tenant.post("/events/batch", {"events": [event_body()]}),
        await tenant.post(f"/events/{event.event_id}/reversal"),
        await tenant.post("/transactions", {"legs": []}),
        await tenant.post("/events/import", b"", headers={"Content-Type": "application/x-ndjson"}),
    ]
    refused += [
        await tenant.get(path)
        for path in (
            "/accounts/cus_42/balances",
            "/balances",
            "/events",
            f"/events/{event.event_id}",
            "/lag",
        )
    ]
    for answer in refused:
        document = problem(answer, "tenant-suspended")
        assert document["status"] == 403
        assert "suspended" in document["detail"]
    # A key without the scope is still refused for that, and other tenants are not affected.
    problem(await (await tenant.limited_to("export")).get("/lag"), "missing-scope")
    await other_tenant.append()

    for _ in range(2):
        assert (await move(tenant, "resume"))["status"] == "active"
    await until_status(tenant, 201)
    assert (await tenant.caught_up()).head_seq > before.head_seq


async def test_what_was_taken_before_a_suspension_is_still_projected(
    freehold: Freehold, tenant: Tenant
) -> None:
    await tenant.append_batch([event_body(amount_minor=1) for _ in range(3_000)])
    await move(tenant, "suspend")

    async def level() -> bool:
        lag = (await shown(freehold, tenant))["lag"]
        return bool(lag) and (lag["head_seq"], lag["events_behind"]) == (3_000, 0)

    await eventually(level, "the tail is projected")
    await move(tenant, "resume")
    await eventually_reads(tenant)
    assert await tenant.balances("cus_42") == {"USD": 3_000}


async def test_a_message_of_a_suspended_tenant_is_refused_and_kept(
    upstream: Upstream, tenant: Tenant
) -> None:
    accepted(await upstream.ask(tenant, event_body()))
    await move(tenant, "suspend")
    await until_status(tenant, 403)
    refusal(await upstream.ask(tenant, event_body(), message_id="suspended"), "tenant-suspended")
    kept = kept_problem(await upstream.refused("suspended"))
    assert kept["type"] == "/problems/tenant-suspended"
    await move(tenant, "resume")
    await until_status(tenant, 201)
    accepted(await upstream.ask(tenant, event_body(), message_id="suspended"))


async def test_an_import_ends_where_its_tenant_is_suspended(tenant: Tenant) -> None:
    async with uploading(tenant) as upload:
        await upload.send(lines(1, 1_500))
        assert "200 OK" in await upload.head()
        while (await upload.line())["accepted"] < 1_500:
            pass
        await move(tenant, "suspend")
        await until_status(tenant, 403)
        await upload.send(lines(1_501, 3_000))
        ended = await upload.last_line()
    assert not ended["done"]
    assert ended["accepted"] == 1_500
    assert ended["error"]["type"] == "/problems/tenant-suspended"


async def test_the_list_can_be_of_one_status(freehold: Freehold, tenant: Tenant) -> None:
    await move(tenant, "suspend")
    own = tenant.tenant_id
    assert own in await listed(freehold, status="suspended")
    assert own not in await listed(freehold, status="active")
    assert own in await listed(freehold)
    answer = await freehold.manage("GET", "/tenants", params={"status": "asleep"})
    problem(answer, "validation-failed")


async def test_who_is_not_there_cannot_be_suspended(freehold: Freehold) -> None:
    for verb in ("suspend", "resume"):
        answer = await freehold.manage("POST", f"/tenants/unknown-tenant/{verb}")
        problem(answer, "not-found")


async def shown(freehold: Freehold, tenant: Tenant) -> Document:
    return found(await freehold.manage("GET", f"/tenants/{tenant.tenant_id}"))


async def listed(freehold: Freehold, **params: str) -> set[str]:
    """The ids of all tenants in a list, page by page."""
    ids: set[str] = set()
    more: Document = {"limit": 50, **params}
    while True:
        page = found(await freehold.manage("GET", "/tenants", params=more))
        if "status" in params:
            assert {tenant["status"] for tenant in page["data"]} <= {params["status"]}
        ids |= {tenant["tenant_id"] for tenant in page["data"]}
        if page["next_cursor"] is None:
            return ids
        more["cursor"] = page["next_cursor"]


async def eventually_reads(tenant: Tenant) -> None:
    async def reads() -> bool:
        return (await tenant.get("/lag")).status_code == 200

    await eventually(reads, "query answers again")
