"""The tenants' console, composed of its sections."""

from collections.abc import Iterator

from fastapi import APIRouter

from freehold.console.pages import Pages, Section
from freehold.console.sessions import Sessions
from freehold.security.export_tickets import ExportTickets
from freehold.tenants.access import TenantAccess
from freehold_query.console.account import account_pages
from freehold_query.console.activity import activity_pages
from freehold_query.console.balances import balance_pages
from freehold_query.console.console import Console
from freehold_query.console.downloads import JOURNAL_FILE_PATH, STATEMENT_FILE_PATH, download_pages
from freehold_query.console.events import event_pages
from freehold_query.console.live import live_routes
from freehold_query.console.sign_in import Door, sign_in_pages
from freehold_query.console.summary import summary_routes
from freehold_query.console.verification import RUN_PATH, verification_pages
from freehold_query.console.visitors import Visitors
from freehold_query.reads import Reads
from freehold_query.statements.files import StatementFiles
from freehold_query.stream.admission import Admission

_SECTIONS = (
    Section("Balances", "/console"),
    Section("Activity", "/console/activity"),
    Section("Events", "/console/events"),
    Section("Verify", "/console/verification"),
    Section("Downloads", "/console/downloads"),
)


CONSOLE_STREAMS = (RUN_PATH, STATEMENT_FILE_PATH, JOURNAL_FILE_PATH)
"""Paths of routes whose answers may have any length."""


def tenants_pages(tenant_manager_url: str | None) -> Pages:
    """Read the console's templates and files. One form is sent to tenant-manager."""
    return Pages(
        "freehold_query.console",
        title="Freehold",
        sections=_SECTIONS,
        form_targets=[] if tenant_manager_url is None else [tenant_manager_url],
    )


def console_routes(
    pages: Pages,
    tenants: TenantAccess,
    reads: Reads,
    live: Admission,
    files: StatementFiles,
    *,
    tenant_manager_url: str | None,
    timeout_s: float,
) -> Iterator[APIRouter]:
    """Make the routes of all sections.

    Args:
        pages: The console's templates.
        tenants: Finds who is signed in.
        reads: Reads tenants' ledgers.
        live: Lets live streams in.
        files: Writes whole statements.
        tenant_manager_url: Where browsers reach tenant-manager; None where they do not.
        timeout_s: An answer of any length begins within this time.
    """
    sessions = Sessions(tenants.key_ring, cookie="freehold-console")
    visitors = Visitors(tenants.directory, sessions)
    console = Console(pages, visitors, reads)
    yield pages.assets.routes()
    yield sign_in_pages(pages, Door(tenants.directory, tenants.catalog), sessions)
    yield balance_pages(console)
    yield summary_routes(console)
    yield live_routes(visitors, live)
    yield account_pages(console)
    yield activity_pages(console)
    yield event_pages(console)
    yield verification_pages(console, timeout_s=timeout_s)
    tickets = ExportTickets(tenants.key_ring)
    yield download_pages(console, files, tickets, tenant_manager_url, timeout_s=timeout_s)
