"""The continuous archive and restores, put together: what the manager opens, asks and closes."""

from freehold.messaging.broker import Broker
from freehold.messaging.topology import ARCHIVER_QUEUE, declare_archiver
from freehold.security.sealing import KeyRing
from freehold.service.background import Periodic
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold_tenant_manager.archive.archiving import Archiver, Archiving
from freehold_tenant_manager.archive.joining import Joining
from freehold_tenant_manager.archive.retention import ArchiveRetention
from freehold_tenant_manager.archive.store import Archive
from freehold_tenant_manager.dumps.dumping import Dumping
from freehold_tenant_manager.operations import Operations
from freehold_tenant_manager.restore.beside import Beside
from freehold_tenant_manager.restore.former_databases import FormerDatabases
from freehold_tenant_manager.restore.replaying import Replaying
from freehold_tenant_manager.restore.restoring import KIND, Restorer
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.storage.objects import Storage
from freehold_tenant_manager.storage.vault import Vault

_NAME = "freehold-archiver"
_BROKER_TIMEOUT_S = 5.0
_PREFETCH = 500
_IDLE_S = 10.0
_STATEMENT_TIMEOUT_S = 60.0
_POLL_S = 5.0
_REMOVE_EVERY_S = 6 * 3_600.0
_JOIN_EVERY_S = 3_600.0
_DROP_EVERY_S = 3_600.0
_DAY_S = 86_400.0


class Restoration:
    """The parts, and what runs of them in the background."""

    def __init__(
        self,
        settings: Settings,
        key_ring: KeyRing,
        catalog: Catalog,
        server: Server,
        operations: Operations,
        *,
        storage: Storage,
        vault: Vault,
        dumping: Dumping,
    ) -> None:
        self._connections = TenantConnections(
            application=_NAME,
            connections_max=settings.archive_connections_max,
            per_tenant_max=1,
            idle_s=_IDLE_S,
            timeout_s=_STATEMENT_TIMEOUT_S,
        )
        archive = Archive(storage, vault)
        self.archiver = Archiver(
            catalog,
            key_ring,
            self._connections,
            archive,
            events_max=settings.archive_events_max,
            timeout_s=_STATEMENT_TIMEOUT_S,
            sweep_s=settings.archive_sweep_s,
        )
        self._archiving = Archiving(
            self.archiver,
            catalog,
            pause_s=settings.archive_pause_s,
            in_flight_max=settings.archive_in_flight_max,
            sweep_s=settings.archive_sweep_s,
        )
        beside = Beside(catalog, server)
        timeout_s = settings.restore_statement_timeout_s
        self.former = FormerDatabases(catalog, beside)
        self.restorer = Restorer(
            catalog,
            key_ring,
            beside,
            self.archiver,
            self.former,
            Replaying(catalog, archive, timeout_s=timeout_s),
            vault,
            dumping,
            timeout_s=timeout_s,
        )
        operations.handle(KIND, self.restorer.restore)
        self._sweeping = Periodic(
            "archiving without a doorbell", self._archiving.sweep, pause_s=_POLL_S
        )
        self.retention = ArchiveRetention(
            catalog, archive, keep_s=settings.backup_keep_days * _DAY_S
        )
        self._removing = Periodic(
            "removing old segments", self.retention.remove_old, pause_s=_REMOVE_EVERY_S
        )
        self._dropping = Periodic(
            "dropping what failed restores left",
            self.former.drop_abandoned,
            pause_s=_DROP_EVERY_S,
        )
        self.joining = Joining(catalog, archive, events_max=settings.archive_events_max)
        self._joining = Periodic(
            "joining small segments", self.joining.join_old, pause_s=_JOIN_EVERY_S
        )
        self._broker = (
            None
            if settings.amqp_url is None
            else Broker(
                settings.amqp_url.get_secret_value(),
                name=_NAME,
                timeout_s=_BROKER_TIMEOUT_S,
                on_delivery=self._archiving.on_delivery,
                prefetch=_PREFETCH,
                queue=ARCHIVER_QUEUE,
                declaring=declare_archiver,
            )
        )

    async def open(self) -> None:
        """Begin to archive."""
        if self._broker is not None:
            await self._broker.open()
        await self._sweeping.open()
        await self._removing.open()
        await self._joining.open()
        await self._dropping.open()

    async def close(self) -> None:
        """Stop; what was rung for and not archived is rung for again."""
        if self._broker is not None:
            await self._broker.stop_consuming()
        await self._sweeping.close()
        await self._removing.close()
        await self._joining.close()
        await self._dropping.close()
        await self._archiving.close()
        if self._broker is not None:
            await self._broker.close()
        await self._connections.close()
