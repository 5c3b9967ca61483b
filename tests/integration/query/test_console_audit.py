"""The console's pages of events, proofs, verification and downloads, in a real browser."""

import csv
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from freehold.ledger import rules
from freehold.ledger.append import Capture
from freehold.security.api_keys import Scope
from freehold_query.audit import verification
from integration.query.consoles import console_page
from integration.query.service import Service, running
from integration.query.tenants import Landlord, Tenant
from support.browser import keep_screenshot, require_accessible, require_fits
from support.builders import new_event, new_hold, undo
from support.tampering import tamper

EVENTS = "/console/events"
VERIFY = "/console/verification"
DOWNLOADS = "/console/downloads"


@pytest.fixture
async def service(landlord: Landlord, tenant: Tenant) -> AsyncIterator[Service]:
    async with running(landlord.dsn(), tenant, tenant_manager_url="http://127.0.0.1:9") as service:
        yield service


async def rows(page: Page, number: int) -> None:
    await expect(page.locator("table.events tbody tr")).to_have_count(number)


async def test_events_are_searched(browser: Browser, service: Service, tenant: Tenant) -> None:
    async with console_page(browser, service, EVENTS) as page:
        await expect(page.get_by_text("There are no events yet.")).to_be_visible()
        await require_accessible(page)
        await rules.declare_searchable_metadata(tenant.connection, ["order_id"])
        await tenant.append(
            new_event("cus_42", 1_999, external_id="ch_1", metadata={"order_id": "o1"}),
            new_event("cus_42", -250, event_type="FEE", currency="JPY"),
            *[new_event("cus_7", 5)] * 150,
        )
        await page.reload()
        await rows(page, 100)
        await page.get_by_role("link", name="Next page").click()
        await rows(page, 52)
        await page.get_by_label("Account").fill("cus_42")
        await page.get_by_label("Account").press("Enter")
        await rows(page, 2)
        assert "account_id=cus_42" in page.url
        await expect(page.locator("table.events")).to_contain_text("\N{MINUS SIGN}250")
        await require_accessible(page)
        await keep_screenshot(page, "events")
        await require_fits(page)
        await page.get_by_label("Metadata").select_option("order_id")
        await page.get_by_label("has the value").fill("o1")
        await page.get_by_role("button", name="Search").click()
        await rows(page, 1)
        await page.get_by_label("has the value").fill("another")
        await page.get_by_role("button", name="Search").click()
        await expect(page.get_by_text("No event is like this.")).to_be_visible()
        await page.get_by_label("Account").fill("no account")
        await page.get_by_role("button", name="Search").click()
        await expect(page.get_by_role("alert")).to_contain_text("account_id must look like cus_42")


async def test_an_event_leads_to_all_that_it_is_connected_with(
    browser: Browser, service: Service, tenant: Tenant
) -> None:
    charge, other = await tenant.append(
        new_event("cus_42", 1_999, metadata={"plan": "<b>pro</b>"}), new_event("cus_42", 700)
    )
    (reversal,) = await tenant.append(undo(charge["event_id"], "charged twice"))
    await tenant.append(new_event("cus_42", -200, event_type="REFUND", refunds=other["event_id"]))
    await tenant.append(new_event("a", 5), new_event("b", -5), transaction=True)
    (placed,) = await tenant.append(new_hold("cus_42", 40))
    await tenant.append(Capture(placed["hold_id"], 30))
    async with console_page(browser, service, f"{EVENTS}/{charge['event_id']}") as page:
        await expect(page.get_by_text("<b>pro</b>")).to_be_visible()
        await page.get_by_role("link", name=str(reversal["event_id"])).click()
        await expect(page.get_by_text("charged twice")).to_be_visible()
        await page.goto(f"{service.url}{EVENTS}/{other['event_id']}")
        await page.get_by_role("link", name="All refunds of this event").click()
        await rows(page, 1)
        await page.get_by_role("link", name="REFUND").click()
        await expect(page.get_by_role("link", name=str(other["event_id"]))).to_be_visible()
        await page.goto(f"{service.url}{EVENTS}?account_id=a")
        await page.get_by_role("link", name="CHARGE").click()
        await expect(page.get_by_role("table")).to_contain_text("this one")
        await page.goto(f"{service.url}{EVENTS}/{placed['event_id']}")
        await expect(page.get_by_text("captured", exact=True)).to_be_visible()
        await require_accessible(page)
        await keep_screenshot(page, "event")
        await require_fits(page)
        answer = await page.goto(f"{service.url}{EVENTS}/{'0' * 8}-0000-7000-8000-{'0' * 12}")
        assert answer is not None
        assert answer.status == 404
        await expect(page.get_by_text("there is no such event")).to_be_visible()


async def test_the_browser_verifies_an_event_itself(
    browser: Browser, service: Service, tenant: Tenant
) -> None:
    _, second = await tenant.append(new_event(), new_event(metadata={"name": "Zoë"}))
    path = f"{EVENTS}/{second['event_id']}"
    async with console_page(browser, service, path) as page:
        await expect(page.get_by_text("Verified by your browser")).to_be_visible()
        assert second["hash"].hex() in await page.content()
        await tamper(tenant.connection, "UPDATE ledger_events SET amount_minor = 9 WHERE seq = 2")
        await page.reload()
        await expect(page.get_by_text("Not verified")).to_be_visible()


async def test_a_ledger_is_verified_by_keyboard(
    browser: Browser, service: Service, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "RANGE_EVENTS", 10)
    async with console_page(browser, service, VERIFY) as page:
        await expect(page.get_by_text("There is nothing to verify yet.")).to_be_visible()
        await tenant.append(*[new_event()] * 95)
        await page.reload()
        button = page.get_by_role("button", name="Verify the whole ledger")
        for _ in range(30):
            await page.keyboard.press("Tab")
            if await button.evaluate("button => button === document.activeElement"):
                break
        await page.keyboard.press("Enter")
        verdict = page.get_by_role("status")
        await expect(verdict).to_contain_text("The ledger is whole: all 95 events")
        await expect(page.get_by_text("95 of 95 events")).to_be_visible()
        await require_accessible(page)
        await keep_screenshot(page, "verification")
        await require_fits(page)
        await tamper(tenant.connection, "UPDATE ledger_events SET amount_minor = 9 WHERE seq = 42")
        await page.keyboard.press("Enter")
        await expect(verdict).to_contain_text("Something was changed. At event 42")
        await require_accessible(page)


async def test_statements_and_the_journal_are_downloaded(
    browser: Browser, service: Service, tenant: Tenant, tmp_path: Path
) -> None:
    await tenant.append(new_event("cus_42", 1_999), new_event("cus_42", -50))
    async with console_page(browser, service, DOWNLOADS) as page:
        await require_accessible(page)
        await keep_screenshot(page, "downloads")
        await require_fits(page)
        await page.get_by_label("Account").fill("cus_42")
        await page.get_by_label("Currency").fill("USD")
        for form, first in (("PDF", b"%PDF"), ("CSV", b"seq,")):
            async with page.expect_download() as download:
                await page.get_by_role("button", name=f"Download {form}").first.click()
            file = await (await download.value).path()
            assert file.read_bytes().startswith(first)
            assert (await download.value).suggested_filename.endswith(f".{form.lower()}")
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Download CSV").last.click()
        text = (await (await download.value).path()).read_text()
        assert [row["amount"] for row in csv.DictReader(StringIO(text))] == ["19.99", "-0.50"]
        await page.get_by_role("button", name="Prepare the download").click()
        await expect(page.get_by_role("button", name="Download the ledger")).to_be_focused()
        await require_accessible(page)


async def test_a_key_is_told_what_it_may_not_see(
    browser: Browser, landlord: Landlord, service: Service, tenant: Tenant
) -> None:
    (event,) = await tenant.append(new_event())
    key = await landlord.key(tenant, Scope.READ)
    async with console_page(browser, service, VERIFY, key) as page:
        await expect(page.get_by_text("the key needs the scope audit")).to_be_visible()
        await page.goto(f"{service.url}{DOWNLOADS}")
        await expect(page.get_by_text("This needs a key that has the scope")).to_have_count(2)
        await page.goto(f"{service.url}{EVENTS}/{event['event_id']}")
        await expect(page.get_by_text("sign in with a key that has the scope")).to_be_visible()
        assert await page.locator("[data-proof]").count() == 0
