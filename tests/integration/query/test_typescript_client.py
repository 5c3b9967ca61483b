"""The client in TypeScript in a real browser, from another origin than query's."""

from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlencode

import httpx
import pytest
from playwright.async_api import Browser, Page

from integration.query.service import Service, change, running
from integration.query.tenants import Landlord, Tenant
from support.browser import page_at, served
from support.node import built_client
from support.waiting import eventually

SHOWN = "[...document.querySelectorAll('li, p')].map((each) => each.textContent)"


@pytest.fixture
def origin() -> Iterator[str]:
    """Where the page comes from."""
    with served(built_client()) as url:
        yield url


@pytest.fixture
async def service(landlord: Landlord, tenant: Tenant, origin: str) -> AsyncIterator[Service]:
    async with running(landlord.dsn(), tenant, cors_origins=origin) as service:
        yield service


@pytest.fixture
async def page(service: Service, origin: str, browser: Browser) -> AsyncIterator[Page]:
    async with httpx.AsyncClient(base_url=service.url, trust_env=False) as http_client:
        made = await http_client.post(
            "/v1/read-tokens", json={"account_prefix": "cus_"}, headers=service.tenant.authorization
        )
    settings = urlencode({"query": service.url, "token": made.raise_for_status().json()["token"]})
    async with page_at(browser, f"{origin}/examples/balances.html#{settings}") as page:
        yield page


async def shows(page: Page, *lines: str) -> None:
    async def there() -> bool:
        return bool(await page.evaluate(SHOWN) == list(lines))

    await eventually(there, f"the page shows {lines}")


async def test_a_page_follows_balances_and_says_why_it_ends(
    landlord: Landlord, service: Service, page: Page
) -> None:
    await change(service.tenant, "cus_2", "till", amount_minor=2**60 + 1)
    await shows(page, "cus_2: $11,529,215,046,068,469.77", "")
    await change(service.tenant, "cus_1", amount_minor=-5)
    await shows(page, "cus_2: $11,529,215,046,068,469.77", "cus_1: -$0.05", "")
    await landlord.revoke(service.tenant, service.tenant.key)
    ended = "the read token is not valid, or has expired"
    await shows(page, "cus_2: $11,529,215,046,068,469.77", "cus_1: -$0.05", ended)
