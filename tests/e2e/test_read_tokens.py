"""Read tokens through real services: they read, append nothing, and end with their key."""

from support.answers import created, found, problem
from support.clients import Tenant, event_body
from support.waiting import eventually


async def token(tenant: Tenant, account_prefix: str) -> Tenant:
    """The tenant as a page with a token sees it."""
    answer = await tenant.freehold.ask(
        "POST",
        f"{tenant.freehold.addresses.query}/v1/read-tokens",
        bearer=tenant.api_key,
        body={"account_prefix": account_prefix, "expires_in_s": 60},
    )
    return tenant.bearing(created(answer)["token"])


async def test_a_page_reads_its_accounts_and_nothing_else(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    for each in (tenant, other_tenant):
        await each.append(account_id="cus_42", amount_minor=10)
        await each.append(account_id="cus_43", amount_minor=20)
        await each.caught_up()
    page = await token(tenant, "cus_42")
    assert await page.all_balances() == {("cus_42", "USD"): 10}
    assert await page.balances("cus_42") == {"USD": 10}
    unknown = await page.get("/accounts/nobody/balances")
    for account_id in ("cus_43", "cus_4"):
        assert (await page.get(f"/accounts/{account_id}/balances")).content == unknown.content
    theirs = (await other_tenant.all_events())[0].event_id
    problem(await page.get(f"/events/{theirs}"), "not-found")
    strong = found(await page.get("/accounts/cus_42/balances/USD", consistency="strong"))
    assert strong["current_balance_minor"] == 10


async def test_a_page_appends_and_exports_nothing(tenant: Tenant) -> None:
    page = await token(tenant, "")
    problem(await page.post("/events", event_body()), "unauthorized")
    export = f"{tenant.freehold.addresses.tenant_manager}/v1/export"
    problem(await tenant.freehold.ask("GET", export, bearer=page.api_key), "unauthorized")
    assert (await tenant.lag()).head_seq == 0


async def test_a_token_ends_with_its_key(tenant: Tenant) -> None:
    reading = await tenant.limited_to("read")
    page = await token(reading, "")
    found(await page.get("/lag"))
    await reading.revoke()

    async def is_refused() -> bool:
        return (await page.get("/lag")).status_code == 401

    await eventually(is_refused, "the token is refused")
    found(await tenant.get("/lag"))
