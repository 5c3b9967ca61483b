"""The tenants' console in a real browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page

from freehold.security.api_keys import ApiKey
from integration.query.service import Service
from support.browser import sound_page


@asynccontextmanager
async def console_page(
    browser: Browser, service: Service, path: str, key: ApiKey | None = None, **profile: Any
) -> AsyncIterator[Page]:
    """Be on a page of the console, signed in with a key, or with the tenant's own."""
    url = f"{service.url}/console/sign-in"
    async with sound_page(browser, url, **profile) as page:
        await page.get_by_label("API key").fill((key or service.tenant.key).text())
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("button", name="Sign out").wait_for()
        await page.goto(f"{service.url}{path}")
        yield page
