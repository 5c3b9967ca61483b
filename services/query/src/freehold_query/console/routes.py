"""The tenants' console, composed of its sections."""

from collections.abc import Iterator

from fastapi import APIRouter

from freehold.console.pages import Pages, Section
from freehold.console.sessions import Sessions
from freehold.tenants.access import TenantAccess
from freehold_query.console.account import account_pages
from freehold_query.console.activity import activity_pages
from freehold_query.console.balances import balance_pages
from freehold_query.console.console import Console
from freehold_query.console.downloads import download_pages
from freehold_query.console.events import event_pages
from freehold_query.console.live import live_routes
from freehold_query.console.sign_in import Door, sign_in_pages
from freehold_query.console.verification import verification_pages
from freehold_query.console.visitors import Visitors
from freehold_query.reads import Reads
from freehold_query.stream.admission import Admission

_SECTIONS = (
    Section("Balances", "/console"),
    Section("Activity", "/console/activity"),
    Section("Events", "/console/events"),
    Section("Verify", "/console/verification"),
    Section("Downloads", "/console/downloads"),
)


def tenants_pages() -> Pages:
    """Read the console's templates and files."""
    return Pages("freehold_query.console", title="Freehold", sections=_SECTIONS)


def console_routes(
    pages: Pages, tenants: TenantAccess, reads: Reads, live: Admission
) -> Iterator[APIRouter]:
    """Make the routes of all sections."""
    sessions = Sessions(tenants.key_ring, cookie="freehold-console")
    visitors = Visitors(tenants.directory, sessions)
    console = Console(pages, visitors, reads)
    yield pages.assets.routes()
    yield sign_in_pages(pages, Door(tenants.directory, tenants.catalog), sessions)
    yield balance_pages(console)
    yield live_routes(visitors, live)
    yield account_pages(console)
    yield activity_pages(console)
    yield event_pages(console)
    yield verification_pages(console)
    yield download_pages(console)
