"""The service's parts, put together from the catalog up, and what goes on in the background."""

from contextlib import suppress

import structlog

from freehold.contracts.problems import Problem
from freehold.security.sealing import KeyRing
from freehold.service.background import Periodic
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold_tenant_manager.deleting import DELETE, Deletion
from freehold_tenant_manager.dumps.backup_schedule import BackupSchedule
from freehold_tenant_manager.dumps.backups import Backups
from freehold_tenant_manager.dumps.dumping import APPLICATION, Dumping
from freehold_tenant_manager.dumps.exports import Exports
from freehold_tenant_manager.dumps.final_exports import FinalExports
from freehold_tenant_manager.migration.ledger_migration import LedgerMigration
from freehold_tenant_manager.migration.migrations import MIGRATION, Migrations, warn_of_those_behind
from freehold_tenant_manager.operations import Operations
from freehold_tenant_manager.overview import Overview
from freehold_tenant_manager.provisioning.abandonment import undo_abandoned
from freehold_tenant_manager.provisioning.pool import Pool
from freehold_tenant_manager.provisioning.provisioner import Provisioner
from freehold_tenant_manager.provisioning.tenant_databases import TenantDatabases
from freehold_tenant_manager.redriving import Redriver
from freehold_tenant_manager.restore.restoration import Restoration
from freehold_tenant_manager.rotation import Credentials
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.storage.data_keys import DataKeys
from freehold_tenant_manager.storage.kms import (
    AwsKms,
    KeyManagement,
    KeyManagementError,
    LocalKeyFile,
)
from freehold_tenant_manager.storage.objects import Storage
from freehold_tenant_manager.storage.vault import Vault
from freehold_tenant_manager.verifying import Verifier

_log = structlog.get_logger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_STATEMENT_TIMEOUT_S = 30.0
_IDLE_S = 10.0
_RESEALING_PAUSE_S = 3_600.0
_SCHEDULE_S = 15.0
_REMOVE_EVERY_S = 3_600.0


class Parts:
    """All of them. Made where an event loop runs, and opened once the catalog is set up."""

    def __init__(self, settings: Settings, key_ring: KeyRing) -> None:
        self._settings = settings
        self.server = Server(
            settings.catalog_dsn.get_secret_value(),
            connect_timeout_s=_CONNECT_TIMEOUT_S,
            statement_timeout_s=_STATEMENT_TIMEOUT_S,
        )
        self.catalog = Catalog(
            settings.catalog_dsn.get_secret_value(),
            application=APPLICATION,
            timeout_s=settings.request_timeout_s,
            pool_max=settings.catalog_connections_max,
        )
        self.credentials = Credentials(
            self.catalog, key_ring, address=(settings.customer_host, settings.customer_port)
        )
        self._connections = TenantConnections(
            application=APPLICATION,
            connections_max=settings.tenant_connections_max,
            per_tenant_max=1,
            idle_s=_IDLE_S,
            timeout_s=settings.tenant_timeout_s,
            renew=self.credentials.renewed,
        )
        databases = TenantDatabases(self.server)
        self.pool = Pool(
            self.catalog,
            self.server,
            databases,
            key_ring,
            catalog_name=settings.catalog_name,
            cluster=settings.cluster,
            size=settings.pool_size,
        )
        self.provisioner = Provisioner(
            self.catalog,
            databases,
            self.pool,
            key_ring,
            cluster=settings.cluster,
            in_flight_max=settings.provisioning_in_flight_max,
        )
        self.overview = Overview(
            self.catalog, self._connections, key_ring, timeout_s=settings.tenant_timeout_s
        )
        self._resealing = Periodic(
            "sealing passwords anew", self.credentials.reseal, pause_s=_RESEALING_PAUSE_S
        )
        self._undoing = Periodic(
            "undoing abandoned creations",
            self._undo_abandoned,
            pause_s=settings.provisioning_abandoned_s / 2,
        )
        self.operations = Operations(
            self.catalog,
            in_flight_max=settings.operations_in_flight_max,
            silent_s=settings.operation_silent_s,
        )
        storage = _storage(settings)
        self._data_keys = DataKeys(self.catalog, _key_management(settings))
        self.vault = Vault(storage, self._data_keys)
        dumping = Dumping(timeout_s=settings.dump_timeout_s, bytes_per_s=settings.dump_bytes_per_s)
        final_exports = FinalExports(self.catalog, key_ring, dumping, storage, self.vault)
        self.exports = Exports(
            self.catalog,
            key_ring,
            dumping,
            final_exports,
            in_flight_max=settings.exports_in_flight_max,
        )
        self.backups = Backups(
            self.catalog,
            self.server,
            key_ring,
            dumping,
            self.vault,
            catalog_name=settings.catalog_name,
            timeout_s=settings.dump_timeout_s,
        )
        self.operations.handle("backup", self.backups.make_asked)
        self.operations.handle("backup-verification", self.backups.verify_asked)
        schedule = BackupSchedule(
            self.catalog,
            self.operations,
            storage,
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
        self.restoration = Restoration(
            settings,
            key_ring,
            self.catalog,
            self.server,
            self.operations,
            storage=storage,
            vault=self.vault,
            dumping=dumping,
        )
        self.deletion = Deletion(
            self.catalog, self.server, final_exports, self.backups, self.restoration.former
        )
        self.operations.handle(DELETE, self.deletion.delete)
        self.operations.handle(MIGRATION, self._new_migrations(key_ring).run)
        self._verifying = TenantConnections(
            application=f"{APPLICATION}-verify",
            connections_max=settings.operations_in_flight_max,
            per_tenant_max=1,
            idle_s=_IDLE_S,
            timeout_s=settings.verify_timeout_s,
        )
        self.operations.handle("verify", Verifier(self.catalog, self._verifying, key_ring).verify)
        self.operations.handle("redrive", Redriver(settings).redrive)

    async def open(self) -> None:
        """Begin what goes on in the background."""
        await self._prepare_keys()
        await self._undoing.open()
        await self.pool.open()
        await self._resealing.open()
        await self.operations.open()
        await self.restoration.open()
        await self._scheduling.open()
        await self._removing.open()
        with suppress(Problem):
            await warn_of_those_behind(self.catalog)

    async def close(self) -> None:
        """End it, and every connection."""
        await self._scheduling.close()
        await self._removing.close()
        await self.operations.close()
        await self.restoration.close()
        await self.pool.close()
        await self._verifying.close()
        await self._undoing.close()
        await self._resealing.close()
        await self._connections.close()
        await self.catalog.close()

    def _new_migrations(self, key_ring: KeyRing) -> Migrations:
        settings = self._settings
        return Migrations(
            self.server,
            LedgerMigration(
                self.server,
                key_ring,
                lock_timeout_s=settings.migration_lock_timeout_s,
                timeout_s=settings.migration_timeout_s,
            ),
            catalog_name=settings.catalog_name,
            in_flight_max=settings.migrations_in_flight_max,
            attempts_max=settings.migration_attempts_max,
        )

    async def _prepare_keys(self) -> None:
        try:
            await self._data_keys.prepare()
        except (KeyManagementError, Problem) as error:
            # What needs a data key will say so; everything else goes on without.
            _log.warning("data keys not ready", fault=str(error))

    async def _undo_abandoned(self) -> bool:
        await undo_abandoned(
            self.catalog, self.provisioner, self._settings.provisioning_abandoned_s
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
