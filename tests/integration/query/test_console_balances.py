"""The page of balances in a real browser, as an accountant has it open."""

from collections.abc import AsyncIterator

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from freehold.security.api_keys import Scope, new_api_key
from integration.query.console import enter, signed_in
from integration.query.service import Service, change, running
from integration.query.tenants import Landlord, Tenant
from support.browser import keep_screenshot, require_accessible, require_fits, sound_page
from support.builders import new_event
from support.waiting import PATIENCE_S

MINUS = "\N{MINUS SIGN}"

expect.set_options(timeout=PATIENCE_S * 1000)


@pytest.fixture
async def service(landlord: Landlord, tenant: Tenant) -> AsyncIterator[Service]:
    async with running(landlord.dsn(), tenant) as service:
        yield service


async def shows(page: Page, *balances: str) -> None:
    """Wait until the page shows these balances and no other: account, currency and amount."""
    expected = [balance.split() for balance in balances]
    rows = page.locator("tr[data-balance]")
    await expect(rows).to_have_count(len(expected))
    for row, cells in zip(await rows.all(), expected, strict=True):
        for cell, text in zip(await row.locator("th, td").all(), cells, strict=False):
            await expect(cell).to_have_text(text)


async def is_live(page: Page) -> None:
    await expect(page.locator("[data-state]")).to_have_text("live")


async def test_an_empty_page_says_what_to_do_and_shows_the_first_balance(
    browser: Browser, service: Service
) -> None:
    async with signed_in(browser, service) as page:
        await expect(page.locator(".empty")).to_contain_text("curl")
        await require_accessible(page)
        await keep_screenshot(page, "console-no-balances")
        await is_live(page)
        await change(service.tenant, "cus_1", amount_minor=1999)
        await shows(page, "cus_1 USD 19.99")


async def test_balances_change_as_the_books_do(browser: Browser, service: Service) -> None:
    large = 2**60 + 1
    currencies = {"JPY": 1_500, "KWD": -1_234_567, "USD": large}
    await service.tenant.append(
        *[new_event("cus_1", minor, currency=code) for code, minor in currencies.items()]
    )
    await change(service.tenant, "cus_2")
    async with signed_in(browser, service) as page:
        await is_live(page)
        before = (
            "cus_1 JPY 1,500",
            f"cus_1 KWD {MINUS}1,234.567",
            "cus_1 USD 11,529,215,046,068,469.77",
            "cus_2 USD 0.01",
        )
        await shows(page, *before)
        await change(service.tenant, "cus_1", amount_minor=-3 * large)
        after = (*before[:2], f"cus_1 USD {MINUS}23,058,430,092,136,939.54", before[3])
        await shows(page, *after)
        await expect(page.locator("[data-changes]")).to_contain_text("1 balance changed")
        # The whole summary follows by itself.
        total = f"{MINUS}23,058,430,092,136,939.53"
        await expect(page.locator(".card", has_text="Total USD")).to_contain_text(total)
        await require_accessible(page)
        await require_fits(page)
        await keep_screenshot(page, "console-balances-phone")
        # What the script wrote is what the server writes.
        await page.reload()
        await shows(page, *after)


async def test_held_amounts_have_columns_once_there_are_any(
    browser: Browser, service: Service
) -> None:
    await change(service.tenant, "cus_1", amount_minor=1_000)
    async with signed_in(browser, service) as page:
        await is_live(page)
        heads = page.get_by_role("columnheader")
        await expect(heads.filter(has_text="Held")).to_have_count(0)
        await service.tenant.connection.execute(
            "UPDATE account_balances SET held_minor = 300 WHERE account_id = 'cus_1'"
        )
        await change(service.tenant, "cus_1", amount_minor=100)
        await expect(heads.filter(has_text="Held")).to_have_count(1)
        await shows(page, "cus_1 USD 11.00 3.00 8.00")


async def test_a_list_is_filtered_as_one_types_and_turned_by_keys_alone(
    browser: Browser, service: Service
) -> None:
    names = [f"cus_{number:03}" for number in range(250)]
    await change(service.tenant, *names, "till")
    async with signed_in(browser, service) as page:
        rows = page.locator("tr[data-balance]")
        await expect(rows).to_have_count(100)
        for name, first, count in (("Next", 100, 100), ("Next", 200, 51), ("Previous", 100, 100)):
            await page.get_by_role("link", name=f"{name} page").focus()
            await page.keyboard.press("Enter")
            await expect(rows.first).to_contain_text(f"cus_{first:03}")
            await expect(rows).to_have_count(count)
        await page.get_by_label("Account begins with").focus()
        await page.keyboard.type("cus_01")
        await expect(rows).to_have_count(10)
        assert page.url == f"{service.url}/console?account_prefix=cus_01"
        await is_live(page)
        await change(service.tenant, "cus_010", "cus_020")
        await expect(rows.first.locator("td").nth(1)).to_have_text("0.02")
        await page.keyboard.type("x")
        await expect(page.locator(".empty")).to_contain_text("all balances")
        await page.keyboard.press("Tab")
        await page.keyboard.type("U")
        await expect(page.get_by_label("Currency")).to_have_value("USD")


async def test_a_past_time_is_named_and_is_not_live(browser: Browser, service: Service) -> None:
    await change(service.tenant, "cus_1")
    async with signed_in(browser, service, "/console?as_of=2020-01-01T00:00:00Z") as page:
        await expect(page.locator(".notice")).to_contain_text("2020-01-01 00:00:00 UTC")
        await shows(page, "cus_1 USD 0.00")
        await expect(page.locator(".card", has_text="Total USD")).to_contain_text("0 accounts")
        await expect(page.locator("[data-state]")).to_have_count(0)
        await expect(page.get_by_label("As of (UTC)")).to_have_value("2020-01-01T00:00")
        await require_accessible(page)
        await keep_screenshot(page, "console-balances-past")
        await page.get_by_role("link", name="Back to now").click()
        await shows(page, "cus_1 USD 0.01")
        await is_live(page)


async def test_a_page_goes_on_with_the_next_process_and_after_a_restore(
    landlord: Landlord, browser: Browser, service: Service
) -> None:
    await change(service.tenant, "cus_1", "cus_2")
    async with signed_in(browser, service) as page:
        await is_live(page)
        service.server.should_exit = True
        await service.running
        await expect(page.locator("[data-state]")).to_have_text("reconnecting")
        await change(service.tenant, "cus_1")
        async with running(landlord.dsn(), service.tenant, port=httpx.URL(service.url).port):
            await shows(page, "cus_1 USD 0.02", "cus_2 USD 0.01")
            await is_live(page)
            # What the restored ledger does not have any more.
            await service.tenant.connection.execute(
                "DELETE FROM account_balances WHERE account_id = 'cus_2'"
            )
            await service.tenant.connection.execute("SELECT begin_epoch(2)")
            await shows(page, "cus_1 USD 0.02")


async def test_signing_in_by_keys_alone(
    landlord: Landlord, browser: Browser, service: Service
) -> None:
    async with sound_page(browser, f"{service.url}/console") as page:
        await require_accessible(page)
        await require_fits(page)
        await keep_screenshot(page, "console-sign-in")
        await page.goto(f"{service.url}/console/sign-in?link=some")
        await require_accessible(page)
        await page.goto(f"{service.url}/console")
        await enter(page, new_api_key().text())
        await expect(page.locator(".problem")).to_contain_text("no API key that works")
        await require_accessible(page)
        key = await landlord.key(service.tenant, Scope.READ)
        await enter(page, key.text())
        await is_live(page)
        assert await page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        await landlord.revoke(service.tenant, key)
        # The page itself finds out, and gives no more.
        await expect(page.get_by_role("heading")).to_have_text("Sign in")
        await enter(page, service.tenant.key.text())
        await is_live(page)
        await page.get_by_role("button", name="Sign out").press("Enter")
        await expect(page.get_by_label("API key")).to_be_focused()


async def test_a_suspended_tenants_page_says_so(
    landlord: Landlord, browser: Browser, service: Service
) -> None:
    async with signed_in(browser, service) as page:
        await is_live(page)
        await landlord.suspend(service.tenant)
        await expect(page.locator(".problem")).to_contain_text("suspended by the operator")
        await require_accessible(page)
