"""The tenants' console in a real browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page

from integration.query.service import Service
from support.browser import sound_page


async def enter(page: Page, key: str) -> None:
    """Sign in by keyboard, where the sign-in page is open: the field has the focus."""
    await page.keyboard.type(key)
    await page.keyboard.press("Enter")


@asynccontextmanager
async def signed_in(
    browser: Browser, service: Service, path: str = "/console", **profile: Any
) -> AsyncIterator[Page]:
    """Have a page of the console open for a while, signed in with the tenant's key.

    In the end nothing must have been wrong with it (`sound_page`).
    """
    address = f"{service.url}{path}"
    async with sound_page(browser, address, **profile) as page:
        await enter(page, service.tenant.key.text())
        await page.wait_for_url(address)
        yield page
