"""A tenant takes the whole ledger along with two clicks, from one service to the other."""

import pytest
from playwright.async_api import Browser, expect

from support.browser import page_at
from support.clients import Freehold, Tenant

pytestmark = pytest.mark.local


async def test_the_console_leads_to_the_whole_ledger(
    browser: Browser, freehold: Freehold, tenant: Tenant
) -> None:
    await tenant.append(external_id="mine-1")
    url = f"{freehold.addresses.query}/console"
    async with page_at(browser, f"{url}/sign-in?next=/console/downloads") as page:
        await page.get_by_label("API key").fill(tenant.api_key)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("button", name="Prepare the download").click()
        button = page.get_by_role("button", name="Download the ledger")
        await expect(button).to_be_visible()
        async with page.expect_download() as download:
            await button.click()
        file = await download.value
        content = (await file.path()).read_bytes()
    assert file.suggested_filename.startswith(tenant.tenant_id)
    assert "token" not in file.url
    assert b"CREATE FUNCTION ledger.verify(" in content
    assert b"mine-1" in content
