"""The operators' console in a real browser: as an SRE uses it, by keyboard, on a phone, live."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from playwright.async_api import Browser, Page, expect

from freehold.tenants.catalog import Catalog
from integration.tenant_manager.consoles import listening, open_console
from integration.tenant_manager.installation import components_of, make_tenant
from integration.tenant_manager.restorable import RestorableTenant
from support.browser import keep_screenshot, require_accessible, require_fits
from support.waiting import PATIENCE_S

expect.set_options(timeout=PATIENCE_S * 1000)


@pytest.fixture
async def origin(app: FastAPI) -> AsyncIterator[str]:
    async with listening(app) as origin:
        yield origin


@pytest.fixture
async def page(browser: Browser, origin: str, manager: httpx.AsyncClient) -> AsyncIterator[Page]:
    """The console, with an owner signed in."""
    async with open_console(browser, origin, manager) as page:
        yield page


async def test_pages_are_accessible_and_fit_a_phone(
    page: Page, origin: str, tenant: RestorableTenant
) -> None:
    await tenant.grow_and_archive(1, 2)
    backup_id = await tenant.back_up()
    home = f"/console/tenants/{tenant.tenant_id}"
    for name, path in (
        ("tenants", f"/console/tenants?name={tenant.tenant_id}"),
        ("tenant", home),
        ("keys", f"{home}/keys"),
        ("backups", f"{home}/backups"),
        ("restore", f"{home}/restore?to_seq=1"),
        ("credentials", f"{home}/credentials"),
        ("operations", f"/console/operations?tenant_id={tenant.tenant_id}"),
        ("operation", f"/console/operations/{backup_id}"),
        ("migrations", "/console/migrations?status=failed"),
        ("doorbells", "/console/doorbells"),
        ("operators", "/console/operators"),
        ("audit-log", "/console/audit-log"),
    ):
        await page.set_viewport_size({"width": 1280, "height": 900})
        await page.goto(origin + path)
        for hidden in await page.locator("summary").all():
            await hidden.click()
        await require_accessible(page)
        await keep_screenshot(page, f"operators-{name}")
        await require_fits(page)


async def test_the_table_sorts_by_keyboard_and_stays_live(
    app: FastAPI, page: Page, origin: str, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    await page.goto(f"{origin}/console/tenants?name={tenant_id}")
    await page.get_by_role("link", name="Size", exact=True).focus()
    await page.keyboard.press("Enter")
    head = page.get_by_role("columnheader", name="Size")
    await expect(head).to_have_attribute("aria-sort", "ascending")
    link = page.get_by_role("link", name=tenant_id)
    await link.focus()
    async with components_of(app).find(Catalog).connection() as catalog:
        await catalog.execute(_BEHIND, tenant_id)
    row = page.get_by_role("row").filter(has_text=tenant_id)
    await expect(row).to_contain_text("99 s behind")
    # The row was replaced by script, and the keyboard is where it was.
    await expect(link).to_be_focused()
    await expect(head).to_have_attribute("aria-sort", "ascending")


async def test_a_tenant_is_created_and_their_key_shown_once(page: Page, origin: str) -> None:
    await page.goto(f"{origin}/console/tenants")
    await page.get_by_label("Id", exact=True).fill("No Good")
    await page.get_by_label("Name", exact=True).fill("Blue Bikes")
    await page.get_by_role("button", name="Create the tenant").click()
    await expect(page.get_by_role("alert")).to_contain_text("tenant_id")
    # What was typed is still there.
    await expect(page.get_by_label("Name", exact=True)).to_have_value("Blue Bikes")
    await page.get_by_label("Id", exact=True).fill("blue-bikes")
    await page.get_by_role("button", name="Create the tenant").click()
    made = page.locator("#created")
    key = await made.locator("pre").inner_text()
    assert key.startswith("fh_")
    stored = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert key not in stored
    await made.get_by_role("link", name="To the tenant's page").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Blue Bikes")
    assert key not in await page.content()


async def test_what_destroys_asks_for_the_name(
    page: Page, origin: str, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    await page.goto(f"{origin}/console/tenants/{tenant_id}")
    await page.get_by_text("Delete the tenant…").click()
    form = page.locator("form", has=page.get_by_role("button", name="Delete the tenant"))
    await form.get_by_role("textbox").fill("another")
    await form.get_by_role("textbox").press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text(f"type {tenant_id} to confirm")
    assert (await manager.get(f"/v1/tenants/{tenant_id}")).json()["status"] == "active"
    await form.get_by_role("textbox").fill(tenant_id)
    await form.get_by_role("button").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"Delete of {tenant_id}")
    await expect(page.get_by_role("status")).to_contain_text("succeeded")


async def test_a_ledger_is_brought_back(page: Page, origin: str, tenant: RestorableTenant) -> None:
    await tenant.grow_and_archive(1, 2)
    await tenant.grow_and_archive(3)
    await page.goto(f"{origin}/console/tenants/{tenant.tenant_id}/restore")
    await page.get_by_label("or event number").fill("9")
    await page.get_by_role("button", name="Show what it would do").click()
    await expect(page.get_by_role("alert")).to_contain_text("3 is the ledger's last event")
    await page.get_by_label("or event number").fill("2")
    await page.get_by_role("button", name="Show what it would do").click()
    preview = page.get_by_role("region", name="Preview")
    await expect(preview).to_contain_text("1 event 3 to 3 of the present ledger")
    await preview.get_by_text("Restore in place…").click()
    await preview.get_by_role("textbox").fill(tenant.tenant_id)
    await preview.get_by_role("button", name="Restore in place").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Restore of")
    await expect(page.get_by_role("status")).to_contain_text("succeeded")
    assert await tenant.amounts() == [1, 2]


async def test_an_operator_is_made_and_revoked_and_the_log_proves_it(
    page: Page, origin: str
) -> None:
    await page.goto(f"{origin}/console/operators")
    await page.get_by_label("Name", exact=True).fill("jane.doe")
    await page.get_by_label("Role").select_option("operator")
    await page.get_by_role("button", name="Make the operator").click()
    made = page.locator("#new-token")
    token = await made.locator("pre").inner_text()
    assert token.startswith("fo_")
    await keep_screenshot(page, "operators-new-token")
    await made.get_by_role("link", name="Copied").click()
    await expect(page.get_by_role("rowheader", name="jane.doe")).to_be_visible()
    assert token not in await page.content()
    await page.get_by_text("Change jane.doe").click()
    await page.get_by_text("Revoke jane.doe…").click()
    form = page.locator("form", has=page.get_by_role("button", name="Revoke jane.doe"))
    await form.get_by_role("textbox").fill("jane")
    await form.get_by_role("button").click()
    await expect(page.get_by_role("alert")).to_contain_text("type jane.doe to confirm")
    await form.get_by_role("textbox").fill("jane.doe")
    await form.get_by_role("button").click()
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="jane.doe"))
    await expect(row).to_contain_text("revoked")
    await page.get_by_role("link", name="jane.doe").click()
    await page.get_by_role("link", name="Audit log").click()
    await page.get_by_role("button", name="Verify the log").click()
    await expect(page.get_by_role("status")).to_contain_text("whole and unchanged")
    log = page.get_by_role("table")
    await expect(log).to_contain_text("revoke_operator")
    await expect(log).to_contain_text("422 validation-failed")
    secret = token.rpartition("_")[2]
    assert secret not in await page.content()


async def test_a_viewer_has_nothing_to_press(
    browser: Browser, origin: str, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    async with open_console(browser, origin, manager, "viewer") as page:
        await page.goto(f"{origin}/console/tenants/{tenant_id}")
        await expect(page.locator("main").get_by_role("button")).to_have_count(0)
        await keep_screenshot(page, "operators-tenant-of-viewer")


_BEHIND = """
INSERT INTO tenant_usage (
    tenant_id, sampled_at, connections, server_active_ms, server_writes, seconds_behind
) VALUES ($1, now(), 1, 0, 0, 99)
ON CONFLICT (tenant_id) DO UPDATE SET seconds_behind = 99
"""
