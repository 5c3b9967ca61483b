"""The guides, as a reader follows them: each block of code runs, and answers what the page says."""

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from freehold_local.ports import free_port
from support.browser import page_at
from support.clients import Tenant, event_body
from support.guides import Step, followed, guide
from support.stacks import Addresses
from support.waiting import eventually

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("curl", "jq", "openssl"))),
    reason="this machine lacks what readers of the guides have: curl, jq, openssl",
)


@pytest.fixture
def names(addresses: Addresses) -> dict[str, str]:
    """What the pages say, and what it is called here."""
    return {
        # The id of a tenant who was deleted is never used again.
        "harbour-cafe": f"harbour-cafe-{secrets.token_hex(4)}",
        **{port: str(free_port()) for port in ("5001", "5002", "5003")},
        "http://127.0.0.1:8080": addresses.tenant_manager,
        "http://127.0.0.1:8081": addresses.ingest,
        "http://127.0.0.1:8082": addresses.query,
    }


@pytest.fixture
def environment(addresses: Addresses, tenant: Tenant) -> dict[str, str]:
    """The variables of a reader who has a tenant."""
    return {
        "FREEHOLD_INGEST_URL": addresses.ingest,
        "FREEHOLD_QUERY_URL": addresses.query,
        "FREEHOLD_API_KEY": tenant.api_key,
    }


def left_out(steps: list[Step]) -> None:
    """Say that not all of a page was run."""
    if steps:
        pytest.skip(f"this machine has no node for lines {[step.line for step in steps]}")


async def shows(page: Page, text: str) -> None:
    async def there() -> bool:
        return text in str(await page.evaluate("document.body?.innerText"))

    await eventually(there, f"the page shows {text}")


async def test_quickstart(
    addresses: Addresses, names: Mapping[str, str], tmp_path: Path, browser: Browser
) -> None:
    folder = tmp_path / "reader"
    (folder / ".local").mkdir(parents=True)
    variables = {**addresses.operator, "FREEHOLD_QUERY_URL": addresses.query}
    (folder / ".local/freehold.env").write_text(
        "".join(f"{name}={value}\n" for name, value in variables.items())
    )
    async with followed(guide("quickstart", names), folder, {}) as steps:
        async with page_at(browser, f"http://127.0.0.1:{names['5001']}") as page:
            await shows(page, "Through the back end: $35.00")
            await shows(page, "With a read token: $35.00")
        left_out(steps)


async def test_tenants(addresses: Addresses, tmp_path: Path) -> None:
    names = {"acme": f"acme-{secrets.token_hex(4)}"}
    async with followed(guide("tenants", names), tmp_path, addresses.operator):
        pass


async def test_modelling(
    environment: Mapping[str, str], names: Mapping[str, str], tmp_path: Path
) -> None:
    async with followed(guide("modelling", names), tmp_path, environment) as steps:
        left_out(steps)


async def test_frontends(
    environment: Mapping[str, str],
    names: Mapping[str, str],
    tmp_path: Path,
    tenant: Tenant,
    browser: Browser,
) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    async with followed(guide("frontends", names), folder, environment) as steps:
        url = f"http://127.0.0.1:{names['5001']}/balances.html"
        async with page_at(browser, url) as page:
            await shows(page, "customer:42:wallet\t$20.00\t$20.00")
            await tenant.post("/events", event_body(account_id="customer:42:wallet"))
            await shows(page, "customer:42:wallet\t$40.00\t$40.00")
        left_out(steps)
