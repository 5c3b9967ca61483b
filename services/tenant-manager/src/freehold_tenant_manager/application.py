"""The service, composed from top to bottom: each part is made before what uses it.

All parts are closed in the opposite order, and a failing close keeps no other from being closed.
What runs in the background is opened once the catalog is set up.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Protocol

from fastapi import FastAPI

from freehold.aio.periodic import Periodic
from freehold.aio.tasks import end
from freehold.console.routes import SIGN_IN_PATH
from freehold.console.sessions import Sessions
from freehold.console.tries import Tries
from freehold.contracts.errors import DomainError, RoleMissing
from freehold.http.application import Check, new_application
from freehold.http.openapi import OPERATOR_TOKEN
from freehold.messaging.broker import Broker
from freehold.messaging.topology import ARCHIVER_QUEUE, declare_archiver
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import Renew, TenantConnections
from freehold_tenant_manager.archive.archiver import Archiver, Archiving
from freehold_tenant_manager.archive.compaction import Compaction
from freehold_tenant_manager.archive.retention import ArchiveRetention
from freehold_tenant_manager.backups.backups import Backups
from freehold_tenant_manager.backups.schedule import BackupSchedule
from freehold_tenant_manager.console.audit_log import LOG_EXPORT_PATH
from freehold_tenant_manager.console.concerns import Concerns
from freehold_tenant_manager.console.credentials import EXPORT_PATH as CONSOLE_EXPORT_PATH
from freehold_tenant_manager.console.health import Health
from freehold_tenant_manager.console.keys import KeyForm
from freehold_tenant_manager.console.oidc import router as oidc_router
from freehold_tenant_manager.console.pages import PAGES
from freehold_tenant_manager.console.preview import Previews
from freehold_tenant_manager.console.router import router as console_router
from freehold_tenant_manager.console.sign_in import router as sign_in_router
from freehold_tenant_manager.console.visitors import SignIn, Visitors
from freehold_tenant_manager.credentials.credentials import Credentials
from freehold_tenant_manager.deletion.deletion import Deletion
from freehold_tenant_manager.exports.exports import Exports
from freehold_tenant_manager.exports.final_exports import FinalExports
from freehold_tenant_manager.exports.routes import EXPORT_PATHS, ExportQuery
from freehold_tenant_manager.foundation import Foundation
from freehold_tenant_manager.http.components import Components
from freehold_tenant_manager.http.dependencies import Confirmation
from freehold_tenant_manager.migrations.ledger_migration import LedgerMigration
from freehold_tenant_manager.migrations.migrations import Migrations, warn_of_those_behind
from freehold_tenant_manager.operations.kinds import (
    BACKUP,
    BACKUP_VERIFICATION,
    DELETION,
    MIGRATION,
    REDRIVE,
    RESTORE,
    VERIFICATION,
)
from freehold_tenant_manager.operators.act_routes import EXPORT_PATH
from freehold_tenant_manager.operators.act_verifier import ActVerifier
from freehold_tenant_manager.operators.acts import Acts
from freehold_tenant_manager.operators.details import DetailNames
from freehold_tenant_manager.operators.oidc import IdentityProvider, ProviderSettings
from freehold_tenant_manager.operators.operators import Operators, RootTokens
from freehold_tenant_manager.overview.ledgers import Ledgers
from freehold_tenant_manager.overview.overview import Overview
from freehold_tenant_manager.overview.survey import Survey
from freehold_tenant_manager.provisioning.pool import Pool
from freehold_tenant_manager.provisioning.provisioner import Provisioner
from freehold_tenant_manager.provisioning.tenant_databases import TenantDatabases
from freehold_tenant_manager.redrive.redriver import Redriver
from freehold_tenant_manager.restore.restorer import Restorer
from freehold_tenant_manager.restore.retired_databases import RetiredDatabases
from freehold_tenant_manager.router import REQUEST_MODELS, own_router, router
from freehold_tenant_manager.server.customer_sessions import WATCH_EVERY_S, CustomerSessions
from freehold_tenant_manager.server.server import APPLICATION
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.startup import Startup
from freehold_tenant_manager.usage.gauges import UsageGauges
from freehold_tenant_manager.usage.sampler import Sampler
from freehold_tenant_manager.verification.verifier import Verifier

_CONNECTION_IDLE_S = 10.0
_RESEALING_PAUSE_S = 3_600.0
_KEEP_KEYS_S = 60.0
_SHIP_EVERY_S = 2.0

_COOKIE = "freehold-operators"
_FLOW_COOKIE = "freehold-operators-oidc"

_SCHEDULE_S = 15.0
_REMOVE_BACKUPS_EVERY_S = 3_600.0

_ARCHIVER = "freehold-archiver"
_ARCHIVER_TIMEOUT_S = 60.0
_BROKER_TIMEOUT_S = 5.0
_PREFETCH = 500
_SWEEP_POLL_S = 5.0
_JOIN_EVERY_S = 3_600.0
_REMOVE_SEGMENTS_EVERY_S = 6 * 3_600.0
_DROP_EVERY_S = 3_600.0
_DAY_S = 86_400.0


def build_application(settings: Settings) -> FastAPI:
    """Make the application; it connects to nothing before it is started.

    Raises:
        ValueError: The settings' credential_keys cannot be read.
    """
    key_ring = KeyRing(settings.credential_keys.get_secret_value())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            service = _Service(settings, Foundation(settings, key_ring), stack)
            app.state.components = service.components
            _compose(service)
            starting = asyncio.create_task(service.start())
            stack.push_async_callback(end, starting)
            yield

    async def readiness() -> Mapping[str, Check]:
        return _readiness(app.state.components)

    app = new_application(
        title="Freehold tenant-manager",
        description="Provisions tenants, their databases and their API keys.",
        lifespan=lifespan,
        readiness=readiness,
        credential=OPERATOR_TOKEN,
        request_models=REQUEST_MODELS,
        caller_problems=(RoleMissing,),
        timeout_s=settings.request_timeout_s,
        requests_in_flight_max=settings.requests_in_flight_max,
        all_bodies_bytes_max=settings.all_bodies_bytes_max,
        streaming_paths=EXPORT_PATHS | {EXPORT_PATH, CONSOLE_EXPORT_PATH, LOG_EXPORT_PATH},
    )
    app.include_router(router)
    app.include_router(own_router)
    app.include_router(sign_in_router)
    app.include_router(oidc_router)
    app.include_router(console_router)
    app.include_router(PAGES.assets.routes())
    app.state.error_page = PAGES.error
    return app


class _Background(Protocol):
    async def open(self) -> None: ...

    async def close(self) -> None: ...


class _Service:
    """What is composed so far."""

    def __init__(self, settings: Settings, base: Foundation, stack: AsyncExitStack) -> None:
        self.settings = settings
        self.base = base
        self.stack = stack
        self.startup = Startup(base.setup, base.catalog, base.storage)
        self.components = Components(self.startup, *vars(base).values())
        self._background: list[_Background] = []

    def run(self, part: _Background) -> None:
        """Open a part after those before it, and close it before them."""
        self.stack.push_async_callback(part.close)
        self._background.append(part)

    def repeat(self, name: str, work: Callable[[], Awaitable[bool]], pause_s: float) -> None:
        """Do something again and again; see Periodic."""
        self.run(Periodic(name, work, pause_s=pause_s))

    def connections(
        self, name: str, connections_max: int, timeout_s: float, renew: Renew | None = None
    ) -> TenantConnections:
        """Make connections to tenants' databases, one to each, that are closed in the end."""
        connections = TenantConnections(
            application=name,
            connections_max=connections_max,
            per_tenant_max=1,
            idle_s=_CONNECTION_IDLE_S,
            timeout_s=timeout_s,
            renew=renew,
            tls=self.settings.tls,
        )
        self.stack.push_async_callback(connections.close)
        return connections

    async def start(self) -> None:
        """Set the catalog up, then begin with what runs in the background."""
        await self.startup.run()
        for part in self._background:
            await part.open()
        with suppress(DomainError):
            await warn_of_those_behind(self.base.catalog)


def _compose(service: _Service) -> None:
    base, settings = service.base, service.settings
    service.stack.push_async_callback(base.catalog.close)
    _compose_operators(service)
    service.repeat("looking after data keys", base.data_keys.look_after, _KEEP_KEYS_S)
    service.repeat("shipping the catalog", base.shipper.ship_if_due, _SHIP_EVERY_S)
    _compose_tenants(service)
    final_exports = FinalExports(base.catalog, base.key_ring, base.dumps, base.storage, base.vault)
    exports = Exports(
        base.catalog,
        base.key_ring,
        base.dumps,
        final_exports,
        in_flight_max=settings.exports_in_flight_max,
    )
    backups = _compose_backups(service)
    retired = RetiredDatabases(base.catalog, base.restore_databases)
    service.repeat("dropping what failed restores left", retired.drop_abandoned, _DROP_EVERY_S)
    archiver = _compose_archive(service)
    restorer = Restorer(
        base.catalog, base.key_ring, base.restore_databases, archiver, retired, base.rebuild
    )
    deletion = Deletion(base.catalog, base.server, final_exports, backups, retired)
    redriver = Redriver(settings.amqp_url)
    service.components.add(exports, retired, restorer, deletion, redriver)
    operations = base.operations
    operations.handle(RESTORE, restorer.restore)
    operations.handle(DELETION, deletion.delete)
    operations.handle(MIGRATION, _new_migrations(service).run)
    operations.handle(VERIFICATION, _new_verifier(service).verify)
    operations.handle(REDRIVE, redriver.redrive)
    # Closed before what its handlers use.
    service.run(operations)


def _compose_operators(service: _Service) -> None:
    base, settings, startup = service.base, service.settings, service.startup
    root = RootTokens(settings.operator_token, settings.operator_token_previous)
    service.components.add(
        Operators(base.catalog, root, startup.require_done),
        Acts(base.catalog, startup.require_done),
        ActVerifier(base.catalog, base.shipper.shipped_acts_head),
        DetailNames([*REQUEST_MODELS, Confirmation, ExportQuery, KeyForm]),
    )


def _compose_tenants(service: _Service) -> None:
    base, settings = service.base, service.settings
    credentials = Credentials(
        base.catalog, base.key_ring, address=(settings.customer_host, settings.customer_port)
    )
    connections = service.connections(
        APPLICATION,
        settings.tenant_connections_max,
        settings.tenant_timeout_s,
        renew=credentials.renewed,
    )
    databases = TenantDatabases(base.server, settings.customer_bounds)
    pool = Pool(
        base.catalog,
        base.server,
        databases,
        base.key_ring,
        cluster=settings.cluster,
        size=settings.pool_size,
    )
    provisioner = Provisioner(
        base.catalog,
        databases,
        pool,
        base.key_ring,
        region=settings.region,
        cluster=settings.cluster,
        in_flight_max=settings.provisioning_in_flight_max,
    )
    ledgers = Ledgers(connections, base.key_ring, timeout_s=settings.tenant_timeout_s)
    survey = Survey(
        base.catalog,
        ledgers,
        settings.amqp_url,
        at_once=settings.tenant_connections_max,
        backup_every_s=settings.backup_every_s,
        backup_verify_every_s=settings.backup_verify_every_s,
    )
    customers = CustomerSessions(
        base.catalog, settings.customer_bounds, sessions_max=settings.customer_sessions_max
    )
    overview = Overview(base.catalog, ledgers)
    service.components.add(credentials, pool, provisioner, overview, survey)
    _compose_usage(service, ledgers)
    _compose_console(service, ledgers, survey)
    abandoned_s = settings.provisioning_abandoned_s

    async def undo() -> bool:
        await provisioner.undo_abandoned(abandoned_s)
        return False

    service.repeat("resealing passwords", credentials.reseal, _RESEALING_PAUSE_S)
    service.repeat("undoing abandoned creations", undo, abandoned_s / 2)
    service.repeat("watching customers' sessions", customers.watch, WATCH_EVERY_S)
    service.run(pool)


def _compose_usage(service: _Service, ledgers: Ledgers) -> None:
    base, settings = service.base, service.settings
    sampler = Sampler(
        base.catalog,
        ledgers,
        settings.amqp_url,
        cluster=settings.cluster,
        every_s=settings.usage_every_s,
    )
    gauges = UsageGauges(
        base.catalog,
        tenants_max=settings.metrics_tenants_max,
        backup_every_s=settings.backup_every_s,
        backup_verify_every_s=settings.backup_verify_every_s,
    )
    service.components.add(sampler, gauges)
    service.repeat("sampling usage", sampler.sample_if_due, settings.usage_every_s)
    service.repeat("showing usage", gauges.show, settings.usage_every_s)


def _compose_console(service: _Service, ledgers: Ledgers, survey: Survey) -> None:
    base, settings = service.base, service.settings
    service.components.add(
        Concerns(
            backup_every_s=settings.backup_every_s, trial_every_s=settings.backup_verify_every_s
        ),
        Health(base.catalog, survey),
        Previews(base.catalog, ledgers),
        sessions := Sessions(base.key_ring, cookie=_COOKIE),
        Visitors(service.components.find(Operators), sessions, provider := _new_provider(settings)),
        Tries(),
        SignIn(
            provider,
            Sessions(
                base.key_ring, cookie=_FLOW_COOKIE, path=SIGN_IN_PATH, idle_s=600, same_site="lax"
            ),
            settings.console_url or "",
        ),
    )


def _new_provider(settings: Settings) -> IdentityProvider | None:
    """Make the identity provider that the settings name, if they name one."""
    if settings.oidc_issuer is None or settings.oidc_client_secret is None:
        return None
    return IdentityProvider(
        ProviderSettings(
            settings.oidc_issuer,
            settings.oidc_client_id or "",
            settings.oidc_client_secret,
            settings.oidc_role_claim,
            settings.roles_of_groups,
        )
    )


def _compose_backups(service: _Service) -> Backups:
    base, settings = service.base, service.settings
    backups = Backups(
        base.catalog,
        base.server,
        base.key_ring,
        base.dumps,
        base.vault,
        timeout_s=settings.dump_timeout_s,
    )
    schedule = BackupSchedule(
        base.catalog,
        base.operations,
        base.storage,
        base.shipper.require_shipped,
        every_s=settings.backup_every_s,
        verify_every_s=settings.backup_verify_every_s,
        keep_days=settings.backup_keep_days,
    )
    service.components.add(backups)
    base.operations.handle(BACKUP, backups.make_asked)
    base.operations.handle(BACKUP_VERIFICATION, backups.verify_asked)
    service.repeat("asking for backups that are due", schedule.ask_for_due, _SCHEDULE_S)
    service.repeat("removing old backups", schedule.remove_old, _REMOVE_BACKUPS_EVERY_S)
    return backups


def _compose_archive(service: _Service) -> Archiver:
    base, settings = service.base, service.settings
    connections = service.connections(
        _ARCHIVER, settings.archive_connections_max, _ARCHIVER_TIMEOUT_S
    )
    archiver = Archiver(
        base.catalog,
        base.key_ring,
        connections,
        base.archive,
        events_max=settings.archive_events_max,
        sweep_s=settings.archive_sweep_s,
    )
    archiving = Archiving(
        archiver,
        base.catalog,
        pause_s=settings.archive_pause_s,
        in_flight_max=settings.archive_in_flight_max,
        sweep_s=settings.archive_sweep_s,
    )
    retention = ArchiveRetention(
        base.catalog,
        base.archive,
        base.shipper.require_shipped,
        keep_s=settings.backup_keep_days * _DAY_S,
    )
    compaction = Compaction(base.catalog, base.archive, events_max=settings.archive_events_max)
    service.components.add(archiver, retention, compaction)
    if settings.amqp_url is not None:
        broker = Broker(
            settings.amqp_url.get_secret_value(),
            name=_ARCHIVER,
            timeout_s=_BROKER_TIMEOUT_S,
            prefetch=_PREFETCH,
            queue=ARCHIVER_QUEUE,
            declaring=declare_archiver,
        )
        broker.consume(archiving.on_delivery)
        service.components.add(broker)
        service.run(broker)
        # Doorbells taken for what is not archived yet are delivered again.
        service.stack.push_async_callback(archiving.close)
        service.stack.push_async_callback(broker.stop_consuming)
    else:
        service.stack.push_async_callback(archiving.close)
    service.repeat("archiving without a doorbell", archiving.sweep, _SWEEP_POLL_S)
    service.repeat("removing old segments", retention.remove_old, _REMOVE_SEGMENTS_EVERY_S)
    service.repeat("joining small segments", compaction.compact_old, _JOIN_EVERY_S)
    return archiver


def _new_migrations(service: _Service) -> Migrations:
    base, settings = service.base, service.settings
    return Migrations(
        base.server,
        LedgerMigration(
            base.server,
            base.key_ring,
            lock_timeout_s=settings.migration_lock_timeout_s,
            timeout_s=settings.migration_timeout_s,
            bounds=settings.customer_bounds,
        ),
        in_flight_max=settings.migrations_in_flight_max,
        attempts_max=settings.migration_attempts_max,
    )


def _new_verifier(service: _Service) -> Verifier:
    settings = service.settings
    connections = service.connections(
        f"{APPLICATION}-verify", settings.operations_in_flight_max, settings.verify_timeout_s
    )
    return Verifier(service.base.catalog, connections, service.base.key_ring)


def _readiness(components: Components) -> Mapping[str, Check]:
    catalog, startup = components.find(Catalog), components.find(Startup)
    checks = {
        "catalog": Check(catalog.reachable, reason=catalog.unfitness),
        "set_up": Check(startup.is_done, reason=startup.unfitness),
        # Not needed: requests that need an agreed time are refused, and all others are served.
        "clock": Check(catalog.clocks_agree, is_needed=False, reason=catalog.clock_fault),
    }
    if components.has(Broker):
        broker = components.find(Broker)
        # Not needed: without doorbells each tenant is archived every archive_sweep_s.
        checks["broker"] = Check(broker.is_whole, is_needed=False, reason=broker.unfitness)
    return checks
