"""The page of activity in a real browser."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, Page, expect

from integration.query.console import signed_in
from integration.query.service import Service, running
from integration.query.tenants import Landlord, Tenant
from support.browser import keep_screenshot, require_accessible, require_fits
from support.builders import new_event

PATH = "/console/activity"
DAY = timedelta(days=1)
# Late in the evening of Berlin it is the next day, and the last one of the year.
EVENING = datetime(2025, 12, 30, 23, 30, tzinfo=UTC)


@pytest.fixture
async def service(landlord: Landlord, tenant: Tenant) -> AsyncIterator[Service]:
    async with running(landlord.dsn(), tenant) as service:
        yield service


async def fill(tenant: Tenant) -> None:
    events = [
        new_event("cus_1", amount, event_type=event_type, transaction_time=EVENING - day * DAY)
        for day in range(20)
        for event_type, amount in (("CHARGE", 2000 + day), ("REFUND", -500), ("FEE", -30))
    ]
    await tenant.append(*events, new_event("cus_2", 7, currency="JPY", transaction_time=EVENING))
    await tenant.project()


async def shows_rows(page: Page, number: int, first: str) -> None:
    rows = page.get_by_role("region", name="Table of activity").locator("tbody tr")
    await expect(rows).to_have_count(number)
    await expect(rows.first).to_contain_text(first)


async def test_activity_is_shown_by_type_and_day(
    browser: Browser, service: Service, tenant: Tenant
) -> None:
    await fill(tenant)
    async with signed_in(browser, service, f"{PATH}?from=2025-12-01&through=2025-12-31") as page:
        await shows_rows(page, 61, "2025-12-11")
        await expect(page.locator("svg.plot rect")).to_have_count(60)
        await expect(page.locator("svg.plot > title")).to_have_text("Events")
        await require_accessible(page)
        await require_fits(page)
        await keep_screenshot(page, "activity-phone")
        await page.set_viewport_size({"width": 1280, "height": 900})
        await page.get_by_label("Chart of").select_option("net amounts")
        await expect(page.get_by_text("Choose one currency")).to_be_visible()
        await page.get_by_label("Currency").fill("USD")
        await page.keyboard.press("Enter")
        await expect(page.locator("svg.plot > title")).to_have_text("Net amounts, USD")
        await shows_rows(page, 60, "2025-12-11")
        await keep_screenshot(page, "activity")
        await page.get_by_label("Time zone").fill("Europe/Berlin")
        await page.get_by_label("Event type").fill("REFUND")
        await page.keyboard.press("Enter")
        await shows_rows(page, 20, "2025-12-12")
        await page.reload()
        await shows_rows(page, 20, "2025-12-12")
        await page.get_by_label("By").select_option("month")
        await shows_rows(page, 1, "2025-12")
        row = page.get_by_role("region", name="Table of activity").locator("tbody tr")
        await expect(row.get_by_role("cell")).to_have_text(
            ["REFUND", "USD", "20", "0.00", "100.00", "\N{MINUS SIGN}100.00"]
        )


async def test_days_without_activity_say_what_to_do(browser: Browser, service: Service) -> None:
    async with signed_in(browser, service, PATH) as page:
        await expect(page.get_by_text("Nothing happened from")).to_be_visible()
        await require_accessible(page)
        await page.get_by_label("Time zone").fill("Europe/Nowhere")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text(
            "must be a time zone of the IANA database"
        )
