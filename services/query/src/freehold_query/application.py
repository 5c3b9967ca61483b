"""Query, composed from the catalog up to the routes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from freehold.aio.lifecycle import open_in
from freehold.aio.periodic import Periodic
from freehold.http.application import Application, Check, new_application
from freehold.http.openapi import TENANTS_CALLERS
from freehold.tenants.access import TenantAccess
from freehold_query.activity.routes import activity_routes
from freehold_query.audit.routes import AUDIT_MODELS, AUDIT_STREAMS, audit_routes
from freehold_query.balances import balance_routes
from freehold_query.console.balance_rows import LIVE_PATH
from freehold_query.console.routes import CONSOLE_STREAMS, console_routes, tenants_pages
from freehold_query.events import event_routes
from freehold_query.journal import JOURNAL_PATH, journal_routes
from freehold_query.read_tokens import READ_TOKEN_MODELS, read_token_routes
from freehold_query.readers import Readers
from freehold_query.reads import Reads
from freehold_query.searchable_metadata import (
    SEARCHABLE_METADATA_MODELS,
    searchable_metadata_routes,
)
from freehold_query.settings import Settings
from freehold_query.statements.files import StatementFiles
from freehold_query.statements.routes import STATEMENT_PATH, statement_routes
from freehold_query.stream.admission import Admission
from freehold_query.stream.doorbells import Doorbells
from freehold_query.stream.routes import STREAM_MODELS, STREAM_PATH, stream_routes
from freehold_query.tokens import ReadTokens
from freehold_query.totals import total_routes

_CHECK_CLIENTS_S = 1.0


def make_application(settings: Settings) -> Application:
    """Compose the service; it connects to nothing before it is started."""
    tenants = TenantAccess(
        settings,
        application="freehold-query",
        timeout_s=settings.database_timeout_s,
        catalog_timeout_s=settings.database_timeout_s,
    )
    catalog = tenants.catalog
    tokens = ReadTokens(tenants.key_ring)
    readers = Readers(tenants.directory, tokens)
    reads = Reads(
        tenants.connections,
        tenants.traffic,
        in_flight_max=settings.transactions_in_flight_max,
        timeout_s=settings.database_timeout_s,
    )
    url = settings.amqp_url
    doorbells = None if url is None else Doorbells(url.get_secret_value())
    live = Admission(
        tenants.directory,
        reads,
        doorbells,
        streams_max=settings.streams_max,
        per_tenant_max=settings.streams_per_tenant_max,
        heartbeat_s=settings.stream_heartbeat_s,
    )
    checking = Periodic("live streams", live.check_clients, pause_s=_CHECK_CLIENTS_S)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(tenants.opened())
            stack.push_async_callback(reads.drain)
            if doorbells is not None:
                await open_in(stack, doorbells)
            await open_in(stack, checking)
            yield

    async def readiness() -> Mapping[str, Check]:
        checks = {
            "catalog": Check(catalog.reachable, reason=catalog.unfitness),
            # Not needed: what is read depends on no clock, and a declaration is refused by itself.
            "clock": Check(catalog.clocks_agree, is_needed=False, reason=catalog.clock_fault),
        }
        if doorbells is not None:
            link = doorbells.link
            # Not needed: without it streams look for changes each second.
            checks["broker"] = Check(link.is_whole, is_needed=False, reason=link.unfitness)
        return checks

    app = new_application(
        title="Freehold query",
        description="Balances, statements and events, read from each tenant's own database.",
        lifespan=lifespan,
        readiness=readiness,
        request_models=(
            *AUDIT_MODELS,
            *READ_TOKEN_MODELS,
            *SEARCHABLE_METADATA_MODELS,
            *STREAM_MODELS,
        ),
        caller_problems=TENANTS_CALLERS,
        timeout_s=settings.request_timeout_s,
        requests_in_flight_max=settings.requests_in_flight_max,
        all_bodies_bytes_max=settings.all_bodies_bytes_max,
        lasting_paths=frozenset({STREAM_PATH, LIVE_PATH}),
        streaming_paths=frozenset({STATEMENT_PATH, JOURNAL_PATH, *AUDIT_STREAMS, *CONSOLE_STREAMS}),
        origins=settings.origins,
        traffic=tenants.traffic,
    )
    app.on_stop.append(live.stop)
    app.include_direct_routes(balance_routes(readers, reads))
    app.include_direct_routes(total_routes(readers, reads))
    app.include_direct_routes(event_routes(readers, reads))
    app.include_direct_routes(activity_routes(readers, reads))
    app.include_direct_routes(searchable_metadata_routes(readers, reads, settings.clock))
    app.include_direct_routes(read_token_routes(readers, tokens))
    app.include_router(stream_routes(readers, live))
    timeout_s = settings.request_timeout_s
    files = StatementFiles(reads)
    app.include_router(statement_routes(readers, reads, files, timeout_s=timeout_s))
    app.include_router(audit_routes(readers, reads, timeout_s=timeout_s))
    app.include_router(journal_routes(readers, reads, timeout_s=timeout_s))
    pages = tenants_pages(settings.tenant_manager_url)
    app.state.error_page = pages.error
    for router in console_routes(
        pages,
        tenants,
        reads,
        live,
        files,
        tenant_manager_url=settings.tenant_manager_url,
        timeout_s=timeout_s,
    ):
        app.include_router(router)
    return app
