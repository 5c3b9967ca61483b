"""An account's page in a real browser: its balances, chart and statement at any point in time."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, Page, expect

from integration.query.console import signed_in
from integration.query.service import Service, change, running
from integration.query.tenants import Landlord, Tenant
from support.browser import keep_screenshot, require_accessible, require_fits
from support.builders import new_event, new_hold

DAY = timedelta(days=1)
MINUS = "\N{MINUS SIGN}"
PATH = "/console/accounts/cus_1"
BIG = 2**53 + 1


@pytest.fixture
async def service(landlord: Landlord, tenant: Tenant) -> AsyncIterator[Service]:
    async with running(landlord.dsn(), tenant) as service:
        yield service


@pytest.fixture
async def history(tenant: Tenant) -> None:
    """An account with 120 days behind it, in several currencies, and one hold."""
    charges = [
        new_event("cus_1", 1999 + day, transaction_time=noon(day), external_id=f"ch_{day}")
        for day in range(120, 0, -1)
    ]
    others = [
        new_event("cus_1", -50000, event_type="PAYOUT", transaction_time=noon(40)),
        new_event("cus_1", 1234, currency="JPY", transaction_time=noon(30)),
        new_event("cus_1", -1234567, currency="KWD", transaction_time=noon(20)),
        new_event("cus_1", BIG, currency="EUR", transaction_time=noon(10)),
    ]
    await tenant.append(*charges, *others, new_hold("cus_1", 300, currency="JPY"))
    await tenant.project()


def noon(days_ago: int) -> datetime:
    today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return today - days_ago * DAY


def field(at: datetime) -> str:
    """A time as a field of a date and a time has it."""
    return f"{at:%Y-%m-%dT%H:%M}"


async def shows_balance(page: Page, currency: str, amount: str) -> None:
    row = page.locator(f"[data-balance='cus_1 {currency}']")
    await expect(row.locator("[data-field=current_balance_minor]")).to_have_text(amount)


async def shows_lines(page: Page, first: str, number: int) -> None:
    """See that the statement has so many lines, and which external id the first one has."""
    lines = page.locator(".statement tbody tr:not(.edge)")
    await expect(lines.first).to_contain_text(first)
    await expect(lines).to_have_count(number)


@pytest.mark.usefixtures("history")
async def test_an_account_has_balances_a_chart_and_a_statement(
    browser: Browser, service: Service
) -> None:
    async with signed_in(browser, service, f"{PATH}?currency=USD") as page:
        await shows_balance(page, "JPY", "1,234")
        await shows_balance(page, "KWD", f"{MINUS}1,234.567")
        await shows_balance(page, "EUR", "90,071,992,547,409.93")
        await shows_balance(page, "USD", "1,971.40")
        held = page.locator("[data-balance='cus_1 JPY'] [data-field=available_minor]")
        await expect(held).to_have_text("934")
        await expect(page.locator("svg.plot > title")).to_have_text("Balance in USD")
        await page.get_by_text("The figures of this chart").click()
        figures = page.get_by_role("region", name="Balance in USD, figures").get_by_role("row")
        await expect(figures.last).to_contain_text("1,971.40")
        await expect(page.locator(".edge")).to_contain_text("1,971.40")
        await shows_lines(page, "ch_1", 100)
        holds = page.get_by_role("region", name="Table of holds")
        await expect(holds.get_by_role("cell", name="pending")).to_be_visible()
        await require_accessible(page)
        await require_fits(page)
        await keep_screenshot(page, "account-phone")
        await page.set_viewport_size({"width": 1280, "height": 900})
        await keep_screenshot(page, "account")
        await page.get_by_role("link", name="Next lines").click()
        await shows_lines(page, "ch_100", 21)
        await expect(page.locator(".edge")).to_contain_text("0.00")


@pytest.mark.usefixtures("history")
async def test_keys_lead_through_time(browser: Browser, service: Service) -> None:
    async with signed_in(browser, service, f"{PATH}?currency=USD") as page:
        slider = page.get_by_role("slider")
        await expect(slider).to_have_attribute("aria-valuetext", "now")
        await slider.focus()
        await page.keyboard.press("Home")
        await shows_balance(page, "USD", "21.19")
        await shows_balance(page, "KWD", "0.000")
        await expect(page.get_by_text("It is not live.")).to_be_visible()
        await expect(page.get_by_label("As of", exact=True)).to_have_value(
            re.compile(field(noon(120)))
        )
        await expect(page).to_have_url(re.compile(r"as_of="))
        first = page.url
        await page.keyboard.press("PageUp")
        await expect(page).not_to_have_url(first)
        await expect(page.locator("line.mark")).to_have_count(1)
        # The address alone says what is shown.
        await page.goto(first)
        await shows_balance(page, "USD", "21.19")
        await expect(page.get_by_role("slider")).to_have_value("0")
        await page.get_by_role("slider").press("End")
        await shows_balance(page, "USD", "1,971.40")
        await page.go_back()
        await shows_balance(page, "USD", "21.19")


@pytest.mark.usefixtures("history")
async def test_times_are_typed_exactly(browser: Browser, service: Service) -> None:
    async with signed_in(browser, service, f"{PATH}?currency=USD") as page:
        await page.get_by_label("As of", exact=True).fill(field(noon(40)))
        await shows_balance(page, "USD", "1,183.99")
        await shows_lines(page, "PAYOUT", 82)
        await page.get_by_text("Which statement").click()
        await page.get_by_label("From", exact=True).fill(field(noon(42)))
        await page.get_by_label("Order").select_option("oldest first")
        await shows_lines(page, "ch_42", 4)
        await page.get_by_label("Known at").fill("2020-01-01T00:00")
        await expect(
            page.get_by_text("By then the books had nothing of this account.")
        ).to_be_visible()
        await require_accessible(page)
        await page.get_by_role("link", name="back to now", exact=True).click()
        await shows_lines(page, "ch_42", 43)


@pytest.mark.usefixtures("history")
async def test_a_statement_is_taken_along_as_it_is_shown(
    browser: Browser, service: Service
) -> None:
    path = f"{PATH}?currency=USD&from={noon(4):%Y-%m-%dT%H:%M:%SZ}&to={noon(2):%Y-%m-%dT%H:%M:%SZ}"
    async with signed_in(browser, service, path) as page:
        await shows_lines(page, "ch_3", 2)
        async with page.expect_download() as csv:
            await page.get_by_role("link", name="CSV").click()
        lines = (await (await csv.value).path()).read_text().splitlines()
        assert [line.split(",")[6] for line in lines] == ["external_id", "ch_3", "ch_4"]
        address = await page.get_by_role("link", name="PDF").get_attribute("href")
        pdf = await page.request.get(f"{service.url}{address}")
        assert (await pdf.body()).startswith(b"%PDF")


async def test_a_balance_changes_while_one_looks(
    browser: Browser, service: Service, tenant: Tenant
) -> None:
    await change(tenant, "cus_1", "cus_10", amount_minor=500)
    async with signed_in(browser, service, PATH) as page:
        await expect(page.locator("[data-state]")).to_have_text("live")
        await change(tenant, "cus_1", amount_minor=-750)
        await shows_balance(page, "USD", f"{MINUS}2.50")
        await page.get_by_role("link", name="Show its chart and statement anew").click()
        await expect(page.locator(".statement .edge").first).to_contain_text(f"{MINUS}2.50")


async def test_what_there_is_not_is_said_in_words(
    browser: Browser, service: Service, tenant: Tenant
) -> None:
    await change(tenant, "cus_1")
    async with signed_in(browser, service, "/console/accounts/nobody") as page:
        await expect(
            page.get_by_text("No event was ever recorded on this account.")
        ).to_be_visible()
        assert (await page.request.get(page.url)).status == 404
        await page.goto(f"{service.url}{PATH}?currency=JPY")
        await expect(page.get_by_text("The account has no event in this currency.")).to_be_visible()
        await page.goto(f"{service.url}{PATH}?to=2020-01-01T00:00")
        await expect(page.get_by_text("Nothing moved the balance in this period.")).to_be_visible()
        await page.get_by_role("link", name="all of it").click()
        await expect(page.locator(".statement tbody tr")).to_have_count(3)
        answer = await page.request.get(f"{service.url}{PATH}?cursor=old", max_redirects=0)
        assert (answer.status, answer.headers["location"]) == (303, PATH)
