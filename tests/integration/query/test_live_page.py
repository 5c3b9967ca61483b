"""The page of the guide to frontends, in a real browser, from another origin than query's."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page

from integration.query.service import Service, change, running
from integration.query.tenants import Landlord, Tenant
from support.browser import page_at, served
from support.guides import guide, saved_files
from support.waiting import eventually

LARGE = "$11,529,215,046,068,469.77"
SHOWN = """
[...document.querySelectorAll('tr')].map(
    (row) => [...row.cells].map((cell) => cell.textContent).join(' '))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the customer's server serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


@pytest.fixture
def origin(folder: Path) -> Iterator[str]:
    """Where the page comes from."""
    with served(folder) as url:
        yield url


@pytest.fixture
async def service(landlord: Landlord, tenant: Tenant, origin: str) -> AsyncIterator[Service]:
    async with running(landlord.dsn(), tenant, cors_origins=origin) as service:
        yield service


@pytest.fixture
async def page(
    service: Service, folder: Path, origin: str, browser: Browser
) -> AsyncIterator[Page]:
    text_of_guide = guide("frontends", {"http://127.0.0.1:8082": service.url})
    for name, text in saved_files(text_of_guide).items():
        (folder / name).write_text(text)
    async with httpx.AsyncClient(base_url=service.url, trust_env=False) as http_client:
        made = await http_client.post(
            "/v1/read-tokens", json={"account_prefix": "cus_"}, headers=service.tenant.authorization
        )
    (folder / "read-token").write_bytes(made.raise_for_status().content)
    await change(service.tenant, "cus_2", "till", amount_minor=2**60 + 1)
    async with page_at(browser, f"{origin}/balances.html") as page:
        yield page


async def shows(page: Page, *lines: str) -> None:
    async def there() -> bool:
        return bool(await page.evaluate(SHOWN) == list(lines))

    await eventually(there, f"the page shows {lines}")


async def says(page: Page, state: str) -> None:
    async def there() -> bool:
        return bool(await page.evaluate("document.getElementById('state')?.textContent") == state)

    await eventually(there, f"the page says {state}")


async def test_the_page_shows_what_changes(service: Service, page: Page) -> None:
    await shows(page, f"cus_2 {LARGE} {LARGE}")
    await says(page, "live")
    await change(service.tenant, "cus_1", amount_minor=-5)
    await change(service.tenant, "cus_1", amount_minor=-1)
    await shows(page, "cus_1 -$0.06 -$0.06", f"cus_2 {LARGE} {LARGE}")


async def test_the_page_starts_over_after_a_restore(service: Service, page: Page) -> None:
    await change(service.tenant, "cus_1")
    await shows(page, "cus_1 $0.01 $0.01", f"cus_2 {LARGE} {LARGE}")
    # What the page must forget, and the ledger does not have any more.
    await service.tenant.connection.execute(
        "DELETE FROM account_balances WHERE account_id = 'cus_2'"
    )
    await service.tenant.connection.execute("SELECT begin_epoch(2)")
    await shows(page, "cus_1 $0.01 $0.01")


async def test_the_page_goes_on_with_the_next_process(
    landlord: Landlord, service: Service, page: Page, origin: str
) -> None:
    await shows(page, f"cus_2 {LARGE} {LARGE}")
    service.server.should_exit = True
    await service.running
    await says(page, "connecting")
    await change(service.tenant, "cus_1")
    port = httpx.URL(service.url).port
    async with running(landlord.dsn(), service.tenant, port=port, cors_origins=origin):
        await shows(page, "cus_1 $0.01 $0.01", f"cus_2 {LARGE} {LARGE}")
        await says(page, "live")


async def test_the_page_says_why_it_ends(
    landlord: Landlord, service: Service, page: Page, folder: Path
) -> None:
    await says(page, "live")
    # The customer's server gives no other token.
    (folder / "read-token").unlink()
    await landlord.revoke(service.tenant, service.tenant.key)
    await says(page, "the read token is not valid, or has expired")
