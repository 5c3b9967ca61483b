"""A real browser: Debian's headless Chromium, driven by Playwright."""

import functools
import http.server
import re
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect

CHROMIUM = shutil.which("chromium")
# The machine's proxy is for the world outside.
_FLAGS = ["--no-proxy-server", "--disable-quic", "--disable-gpu"]
# On a busy machine the first page takes long.
_TIMEOUT_MS = 60_000
expect.set_options(timeout=_TIMEOUT_MS)
_SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
# A status is no fault of the page: tests ask for refusals.
_STATUS = re.compile("Failed to load resource: the server responded|Response Status Error Code")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Have a browser for a while. Each page has a profile of its own in it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=_FLAGS, chromium_sandbox=False
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def page_at(browser: Browser, url: str, **profile: Any) -> AsyncIterator[Page]:
    """Have a page open for a while; `profile` is what Playwright's `new_context` takes."""
    async with _empty_page(browser, **profile) as page:
        await page.goto(url)
        yield page


@asynccontextmanager
async def sound_page(browser: Browser, url: str, **profile: Any) -> AsyncIterator[Page]:
    """Have a page of a console open for a while, and see in the end that nothing was wrong.

    Scripts must not fail, nothing must break the Content-Security-Policy, and nothing must be
    asked of another origin.
    """
    faults: list[str] = []
    origin = urlsplit(url).netloc
    async with _empty_page(browser, **profile) as page:
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda message: (
                faults.append(message.text)
                if message.type == "error" and not _STATUS.search(message.text)
                else None
            ),
        )
        page.on(
            "request",
            lambda request: (
                faults.append(f"asked of another origin: {request.url}")
                if urlsplit(request.url).netloc not in {origin, ""}
                else None
            ),
        )
        await page.goto(url)
        yield page
    assert not faults


@asynccontextmanager
async def _empty_page(browser: Browser, **profile: Any) -> AsyncIterator[Page]:
    context = await browser.new_context(**profile)
    context.set_default_timeout(_TIMEOUT_MS)
    try:
        yield await context.new_page()
    finally:
        await context.close()


async def require_accessible(page: Page) -> None:
    """See that axe-core finds nothing, neither in light nor in dark colours."""
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = await Axe().run(page)
        assert not found.violations_count, f"{scheme}: {found.generate_report()}"


async def require_fits(page: Page, width: int = 360) -> None:
    """See that a page has no horizontal scroll bar on a phone."""
    await page.set_viewport_size({"width": width, "height": 740})
    wide = await page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, f"the page is {wide} px wide"


async def keep_screenshot(page: Page, name: str) -> None:
    """Keep what a page looks like, as `build/screenshots/NAME.png`."""
    await page.screenshot(path=_SCREENSHOTS / f"{name}.png", full_page=True)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Have an origin that serves the files of a folder for a while."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
