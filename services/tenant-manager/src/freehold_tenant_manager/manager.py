"""What the routes work with, from the first start to the last request.

Until the catalog is set up, which is tried for as long as it takes, nothing else is done: every
route answers 503.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import structlog

from freehold.contracts.problems import Problem, unavailable
from freehold.security.sealing import KeyRing
from freehold.service.background import Periodic
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold_tenant_manager.abandonment import undo_abandoned
from freehold_tenant_manager.backup_schedule import BackupSchedule
from freehold_tenant_manager.backups import Backups
from freehold_tenant_manager.catalog.setup import set_up
from freehold_tenant_manager.data_keys import DataKeys
from freehold_tenant_manager.deleting import DELETE, Deletion
from freehold_tenant_manager.dumping import APPLICATION, Dumping
from freehold_tenant_manager.exports import Exports
from freehold_tenant_manager.final_exports import FinalExports
from freehold_tenant_manager.kms import AwsKms, KeyManagement, KeyManagementError, LocalKeyFile
from freehold_tenant_manager.ledger_migration import LedgerMigration
from freehold_tenant_manager.migrations import MIGRATION, Migrations, warn_of_those_behind
from freehold_tenant_manager.operations import Operations
from freehold_tenant_manager.overview import Overview
from freehold_tenant_manager.pool import Pool
from freehold_tenant_manager.provisioning import Provisioner
from freehold_tenant_manager.redriving import Redriver
from freehold_tenant_manager.restoration import Restoration
from freehold_tenant_manager.rotation import Credentials
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.storage import Storage
from freehold_tenant_manager.tenant_databases import TenantDatabases
from freehold_tenant_manager.vault import Vault
from freehold_tenant_manager.verifying import Verifier

_log = structlog.get_logger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_STATEMENT_TIMEOUT_S = 30.0
_IDLE_S = 10.0
_RETRY_FIRST_S = 0.5
_RETRY_MAX_S = 5.0
_RESEALING_PAUSE_S = 3_600.0
_SCHEDULE_S = 15.0
_REMOVE_EVERY_S = 3_600.0


class Manager:
    """The service's parts. Made where an event loop runs."""

    def __init__(self, settings: Settings, key_ring: KeyRing) -> None:
        self.settings = settings
        self._server = Server(
            settings.catalog_dsn.get_secret_value(),
            connect_timeout_s=_CONNECT_TIMEOUT_S,
            statement_timeout_s=_STATEMENT_TIMEOUT_S,
        )
        self._catalog = Catalog(
            settings.catalog_dsn.get_secret_value(),
            application=APPLICATION,
            timeout_s=settings.request_timeout_s,
            pool_max=settings.catalog_connections_max,
        )
        self._credentials = Credentials(
            self._catalog, key_ring, address=(settings.customer_host, settings.customer_port)
        )
        self._connections = TenantConnections(
            application=APPLICATION,
            connections_max=settings.tenant_connections_max,
            per_tenant_max=1,
            idle_s=_IDLE_S,
            timeout_s=settings.tenant_timeout_s,
            renew=self._credentials.renewed,
        )
        databases = TenantDatabases(self._server)
        self._pool = Pool(
            self._catalog,
            self._server,
            databases,
            key_ring,
            catalog_name=settings.catalog_name,
            cluster=settings.cluster,
            size=settings.pool_size,
        )
        self._provisioner = Provisioner(
            self._catalog,
            databases,
            self._pool,
            key_ring,
            cluster=settings.cluster,
            in_flight_max=settings.provisioning_in_flight_max,
        )
        self._overview = Overview(
            self._catalog, self._connections, key_ring, timeout_s=settings.tenant_timeout_s
        )
        self._resealing = Periodic(
            "sealing passwords anew", self._credentials.reseal, pause_s=_RESEALING_PAUSE_S
        )
        self._undoing = Periodic(
            "undoing abandoned creations",
            self._undo_abandoned,
            pause_s=settings.provisioning_abandoned_s / 2,
        )
        self._operations = Operations(
            self._catalog,
            in_flight_max=settings.operations_in_flight_max,
            silent_s=settings.operation_silent_s,
        )
        self._storage = _storage(settings)
        self._data_keys = DataKeys(self._catalog, _key_management(settings))
        self._vault = Vault(self._storage, self._data_keys)
        self._dumping = Dumping(
            timeout_s=settings.dump_timeout_s, bytes_per_s=settings.dump_bytes_per_s
        )
        final_exports = FinalExports(self._catalog, key_ring, self._dumping, self._vault)
        self._exports = Exports(
            self._catalog,
            key_ring,
            self._dumping,
            final_exports,
            in_flight_max=settings.exports_in_flight_max,
        )
        self._backups = Backups(
            self._catalog,
            self._server,
            key_ring,
            self._dumping,
            self._vault,
            catalog_name=settings.catalog_name,
            timeout_s=settings.dump_timeout_s,
        )
        self._operations.handle("backup", self._backups.make_asked)
        self._operations.handle("backup-verification", self._backups.verify_asked)
        schedule = BackupSchedule(
            self._catalog,
            self._operations,
            self._storage,
            every_s=settings.backup_every_s,
            verify_every_s=settings.backup_verify_every_s,
            keep_days=settings.backup_keep_days,
        )
        self._scheduling = Periodic(
            "asking for backups that are due", schedule.ask_for_due, pause_s=_SCHEDULE_S
        )
        self._removing = Periodic(
            "removing old backups", schedule.remove_old, pause_s=_REMOVE_EVERY_S
        )
        self._restoration = Restoration(
            settings,
            key_ring,
            self._catalog,
            self._server,
            self._operations,
            storage=self._storage,
            vault=self._vault,
            dumping=self._dumping,
        )
        self._deletion = Deletion(
            self._catalog, self._server, final_exports, self._backups, self._restoration.restorer
        )
        self._operations.handle(DELETE, self._deletion.delete)
        self._operations.handle(MIGRATION, self._new_migrations(key_ring).run)
        self._verifying = TenantConnections(
            application=f"{APPLICATION}-verify",
            connections_max=settings.operations_in_flight_max,
            per_tenant_max=1,
            idle_s=_IDLE_S,
            timeout_s=settings.verify_timeout_s,
        )
        self._operations.handle("verify", Verifier(self._catalog, self._verifying, key_ring).verify)
        self._operations.handle("redrive", Redriver(settings).redrive)
        self._is_set_up = False
        self._work: asyncio.Task[None] | None = None

    @property
    def catalog(self) -> Catalog:
        """The catalog.

        Raises:
            Problem: unavailable, before it is set up.
        """
        self._require_set_up()
        return self._catalog

    @property
    def provisioner(self) -> Provisioner:
        """What makes tenants.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._provisioner

    @property
    def pool(self) -> Pool:
        """The databases that wait for tenants.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._pool

    @property
    def overview(self) -> Overview:
        """What shows tenants.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._overview

    @property
    def credentials(self) -> Credentials:
        """What shows and replaces passwords.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._credentials

    @property
    def operations(self) -> Operations:
        """What does the work that takes long.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._operations

    @property
    def vault(self) -> Vault:
        """What keeps tenants' objects outside of their databases.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._vault

    @property
    def backups(self) -> Backups:
        """What makes backups.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._backups

    @property
    def exports(self) -> Exports:
        """What makes exports.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._exports

    @property
    def restoration(self) -> Restoration:
        """What archives ledgers and restores them.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._restoration

    @property
    def deletion(self) -> Deletion:
        """What deletes tenants.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._deletion

    async def open(self) -> None:
        """Begin; setting up goes on in the background."""
        self._work = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End what goes on in the background, and every connection."""
        if self._work is not None:
            self._work.cancel()
            with suppress(asyncio.CancelledError):
                await self._work
        await self._scheduling.close()
        await self._removing.close()
        await self._operations.close()
        await self._restoration.close()
        await self._pool.close()
        await self._verifying.close()
        await self._undoing.close()
        await self._resealing.close()
        await self._connections.close()
        await self._catalog.close()

    def readiness(self) -> Mapping[str, bool]:
        """Say what /readyz says."""
        return {"catalog": self._catalog.reachable, "set_up": self._is_set_up}

    def _new_migrations(self, key_ring: KeyRing) -> Migrations:
        settings = self.settings
        return Migrations(
            self._server,
            LedgerMigration(
                self._server,
                key_ring,
                lock_timeout_s=settings.migration_lock_timeout_s,
                timeout_s=settings.migration_timeout_s,
            ),
            catalog_name=settings.catalog_name,
            in_flight_max=settings.migrations_in_flight_max,
            attempts_max=settings.migration_attempts_max,
        )

    def _require_set_up(self) -> None:
        if not self._is_set_up:
            raise unavailable("the catalog is not set up yet")

    async def _run(self) -> None:
        pause_s = _RETRY_FIRST_S
        while not self._is_set_up:
            try:
                await set_up(self._server, self.settings)
                await self._catalog.open()
                self._is_set_up = True
            except Exception as error:  # noqa: BLE001 (whatever it is may pass, and is told)
                _log.warning("catalog not set up yet", fault=repr(error), retry_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _RETRY_MAX_S)
        _log.info("catalog set up", region=self.settings.region, cluster=self.settings.cluster)
        await self._prepare_keys()
        await self._undoing.open()
        await self._pool.open()
        await self._resealing.open()
        await self._operations.open()
        await self._restoration.open()
        await self._scheduling.open()
        await self._removing.open()
        with suppress(Problem):
            await warn_of_those_behind(self._catalog)

    async def _prepare_keys(self) -> None:
        try:
            await self._data_keys.prepare()
        except (KeyManagementError, Problem) as error:
            # What needs a data key will say so; everything else goes on without.
            _log.warning("data keys not ready", fault=str(error))

    async def _undo_abandoned(self) -> bool:
        await undo_abandoned(
            self._catalog, self._provisioner, self.settings.provisioning_abandoned_s
        )
        return False


def _storage(settings: Settings) -> Storage:
    return Storage(
        settings.storage_url,
        endpoint=settings.storage_s3_endpoint,
        region=settings.storage_s3_region,
        access_key=settings.storage_s3_access_key,
        secret_key=settings.storage_s3_secret_key,
    )


def _key_management(settings: Settings) -> KeyManagement:
    if settings.kms_aws_key is None:
        return LocalKeyFile(settings.kms_key_file)
    return AwsKms(
        settings.kms_aws_key, region=settings.kms_aws_region, endpoint=settings.kms_aws_endpoint
    )
