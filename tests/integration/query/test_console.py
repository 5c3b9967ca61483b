"""The tenants' console as HTTP has it, without a browser: who is let in, and what pages say."""

from collections.abc import AsyncIterator

import httpx
import pytest

from freehold.security.api_keys import ApiKey, Scope, new_api_key
from integration.query.conftest import serve
from integration.query.service import change
from integration.query.tenants import Landlord, Tenant
from support.builders import new_event
from support.waiting import eventually

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
MINUS = "\N{MINUS SIGN}"


@pytest.fixture
async def visitor(landlord: Landlord, tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without a session. It keeps cookies, and no other credential."""
    async with serve(landlord.dsn(), tenant) as client:
        del client.headers["Authorization"]
        client.base_url = httpx.URL("http://127.0.0.1")
        yield client


async def sign_in(
    visitor: httpx.AsyncClient, key: ApiKey | str, following: str = "/console"
) -> httpx.Response:
    text = key if isinstance(key, str) else key.text()
    form = {"api_key": text, "next": following}
    return await visitor.post("/console/sign-in", data=form, headers=SAME_ORIGIN)


async def answers(visitor: httpx.AsyncClient, status: int) -> httpx.Response:
    """Wait until the console answers with a status: a change of the catalog takes a moment."""

    async def there() -> bool:
        return (await visitor.get("/console")).status_code == status

    await eventually(there, f"the console answers {status}")
    return await visitor.get("/console")


async def test_a_key_opens_the_console_and_stays_out_of_it(
    visitor: httpx.AsyncClient, tenant: Tenant
) -> None:
    sent_away = await visitor.get("/console?account_prefix=cus_")
    assert sent_away.status_code == 303
    entered = await sign_in(visitor, tenant.key, "/console?account_prefix=cus_")
    assert (entered.status_code, entered.headers["location"]) == (
        303,
        "/console?account_prefix=cus_",
    )
    cookie = entered.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/console"} <= set(cookie.split("; "))
    assert tenant.key.secret not in entered.headers["set-cookie"]
    page = await visitor.get("/console")
    assert page.status_code == 200
    assert tenant.name in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy


async def test_a_session_is_worth_nothing_to_the_api(
    visitor: httpx.AsyncClient, tenant: Tenant
) -> None:
    await sign_in(visitor, tenant.key)
    (cookie,) = visitor.cookies.jar
    assert cookie.path == "/console"
    forced = await visitor.get("/v1/balances", headers={"Cookie": f"{cookie.name}={cookie.value}"})
    assert forced.status_code == 401


async def test_who_may_not_enter_is_told_in_a_sentence(
    landlord: Landlord, visitor: httpx.AsyncClient, tenant: Tenant
) -> None:
    for text in ("", "fh_1_2", new_api_key().text(), f"fh_{tenant.key.key_id}_{'0' * 64}"):
        refused = await sign_in(visitor, text)
        assert refused.status_code == 401
        assert "This is no API key that works." in refused.text
    refused = await sign_in(visitor, await landlord.key(tenant, Scope.INGEST))
    assert refused.status_code == 403
    assert "the key needs the scope read or audit" in refused.text
    assert not visitor.cookies


async def test_an_auditor_begins_with_the_events(
    landlord: Landlord, visitor: httpx.AsyncClient, tenant: Tenant
) -> None:
    key = await landlord.key(tenant, Scope.AUDIT)
    entered = await sign_in(visitor, key)
    assert entered.headers["location"] == "/console/events"
    assert (await visitor.get("/console/events")).status_code == 200
    entered = await sign_in(visitor, key, "/console/verification")
    assert entered.headers["location"] == "/console/verification"


async def test_a_wrong_day_is_explained(visitor: httpx.AsyncClient, tenant: Tenant) -> None:
    await sign_in(visitor, tenant.key)
    for day, why in {
        "2026-13-01": "from must be a date, such as 2026-03-01",
        "0001-01-01": "from must lie between 1900-01-01 and ",
    }.items():
        refused = await visitor.get("/console/activity", params={"from": day})
        assert refused.status_code == 422
        assert why in refused.text


async def test_tries_are_limited(visitor: httpx.AsyncClient) -> None:
    for _ in range(100):
        refused = await sign_in(visitor, "fh_1_2")
        if refused.status_code == 429:
            break
    assert refused.status_code == 429
    assert "too many people try to sign in" in refused.text


async def test_only_the_console_signs_in_and_out(
    visitor: httpx.AsyncClient, tenant: Tenant
) -> None:
    for path in ("/console/sign-in", "/console/sign-out"):
        form = {"api_key": tenant.key.text()}
        for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            assert (await visitor.post(path, data=form, headers=headers)).status_code == 403
    assert not visitor.cookies


async def test_a_session_ends_with_a_click_or_with_its_key(
    landlord: Landlord, visitor: httpx.AsyncClient, tenant: Tenant
) -> None:
    await sign_in(visitor, tenant.key)
    await visitor.post("/console/sign-out", headers=SAME_ORIGIN)
    assert (await visitor.get("/console")).status_code == 303
    key = await landlord.key(tenant, Scope.READ)
    await sign_in(visitor, key)
    assert (await visitor.get("/console")).status_code == 200
    await landlord.revoke(tenant, key)
    await answers(visitor, 303)
    page = {"HX-Current-URL": "http://127.0.0.1/console?account_prefix=a"}
    part = await visitor.get("/console/summary", headers={"HX-Request": "true", **page})
    assert part.headers["hx-redirect"] == "/console/sign-in?next=/console%3Faccount_prefix%3Da"


async def test_a_suspended_tenant_is_told_so(
    landlord: Landlord, visitor: httpx.AsyncClient, tenant: Tenant
) -> None:
    await sign_in(visitor, tenant.key)
    await landlord.suspend(tenant)
    page = await answers(visitor, 403)
    assert "the tenant is suspended by the operator" in page.text
    assert "Sign out" in page.text


async def test_a_sign_in_leads_nowhere_else(visitor: httpx.AsyncClient, tenant: Tenant) -> None:
    for elsewhere in ("https://evil.example/console", "//evil.example/console", "/\\evil.example"):
        entered = await sign_in(visitor, tenant.key, elsewhere)
        assert entered.headers["location"] == "/console"


async def test_a_page_of_balances_says_what_there_is(
    visitor: httpx.AsyncClient, tenant: Tenant
) -> None:
    await sign_in(visitor, tenant.key)
    assert "There are no balances yet." in (await visitor.get("/console")).text
    await change(tenant, *[f"cus_{number:03}" for number in range(150)], amount_minor=-123_456)
    page = (await visitor.get("/console")).text
    assert page.count("<tr data-balance=") == 100
    assert f"{MINUS}1,234.56" in page
    assert f"{MINUS}185,184.00" in page
    assert "up to date" in page
    (following,) = (line for line in page.splitlines() if 'rel="next"' in line)
    address = following.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert (await visitor.get(address)).text.count("<tr data-balance=") == 50
    await tenant.append(new_event("cus_000", 1), new_event("cus_001", 1))
    few = (await visitor.get("/console", params={"account_prefix": "cus_01", "as_of": ""})).text
    assert "balances are 2 events behind" in few
    assert few.count("<tr data-balance=") == 10
    none = (await visitor.get("/console", params={"account_prefix": "x"})).text
    assert "No account has such a balance." in none
    past = (await visitor.get("/console", params={"as_of": "2020-01-01T00:00"})).text
    assert "of what had happened by" in past
    assert "data-stream" not in past


async def test_a_page_of_before_a_restore_begins_anew(
    landlord: Landlord, visitor: httpx.AsyncClient, tenant: Tenant
) -> None:
    await sign_in(visitor, tenant.key)
    answer = await visitor.get("/console", params={"account_prefix": "cus_", "cursor": "old"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/console?account_prefix=cus_"
