"""The parts that the service and the command `recover` have in common."""

from typing import Any

from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.store import Archive
from freehold_tenant_manager.catalog.setup import CatalogSetup, Cluster
from freehold_tenant_manager.dumps.dumps import Dumps
from freehold_tenant_manager.operations.kinds import RECOVERY
from freehold_tenant_manager.operations.operations import Operations
from freehold_tenant_manager.recovery.ledger_recovery import LedgerRecovery
from freehold_tenant_manager.recovery.shipper import Shipper
from freehold_tenant_manager.recovery.versions import Versions
from freehold_tenant_manager.restore.rebuild import LedgerRebuild
from freehold_tenant_manager.restore.replay import Replay
from freehold_tenant_manager.restore.restore_databases import RestoreDatabases
from freehold_tenant_manager.server.server import APPLICATION, Server
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.storage.data_keys import DataKeys
from freehold_tenant_manager.storage.kms import AwsKms, KeyManagement, LocalKeyFile
from freehold_tenant_manager.storage.own_storage import OwnStorage
from freehold_tenant_manager.storage.vault import Vault

_CONNECT_TIMEOUT_S = 5.0
_STATEMENT_TIMEOUT_S = 30.0


class Foundation:
    """The parts, made and not yet opened."""

    def __init__(self, settings: Settings, key_ring: KeyRing) -> None:
        dsn = settings.catalog_dsn.get_secret_value()
        self.key_ring = key_ring
        self.server = Server(
            dsn, connect_timeout_s=_CONNECT_TIMEOUT_S, statement_timeout_s=_STATEMENT_TIMEOUT_S
        )
        self.setup = CatalogSetup(
            self.server,
            Cluster(settings.cluster, settings.region, *settings.cluster_address),
            settings.service_passwords,
        )
        self.catalog = Catalog(
            dsn,
            application=APPLICATION,
            timeout_s=settings.request_timeout_s,
            pool_max=settings.catalog_connections_max,
            clock=settings.clock,
        )
        self.operations = Operations(
            self.catalog,
            in_flight_max=settings.operations_in_flight_max,
            silent_s=settings.operation_silent_s,
        )
        self.storage = OwnStorage(
            settings.storage_url, catalog=self.catalog, **storage_choices(settings)
        )
        self.data_keys = DataKeys(self.catalog, self.storage, new_key_management(settings))
        self.vault = Vault(self.storage, self.data_keys)
        self.shipper = Shipper(
            self.catalog,
            self.server,
            Versions(self.storage, self.vault, keep_days=settings.backup_keep_days),
            cluster=settings.cluster,
        )
        self.dumps = Dumps(
            timeout_s=settings.dump_timeout_s,
            bytes_per_s=settings.dump_bytes_per_s,
            tls=settings.tls,
        )
        self.archive = Archive(self.storage, self.vault)
        self.restore_databases = RestoreDatabases(
            self.catalog, self.server, settings.customer_bounds
        )
        self.rebuild = LedgerRebuild(
            self.catalog,
            self.restore_databases,
            Replay(self.catalog, self.archive),
            self.vault,
            self.dumps,
            timeout_s=settings.restore_statement_timeout_s,
        )
        recovery = LedgerRecovery(
            self.catalog,
            self.key_ring,
            self.restore_databases,
            self.rebuild,
            self.archive,
            self.data_keys,
        )
        self.operations.handle(RECOVERY, recovery.recover)


def storage_choices(settings: Settings) -> dict[str, Any]:
    """Give a storage's parameters other than its URL."""
    return {
        "endpoint": settings.storage_s3_endpoint,
        "region": settings.storage_s3_region,
        "access_key": settings.storage_s3_access_key,
        "secret_key": settings.storage_s3_secret_key,
    }


def new_key_management(settings: Settings) -> KeyManagement:
    """Make the key management that the settings name."""
    if settings.kms_aws_key is None:
        return LocalKeyFile(settings.kms_key_file)
    return AwsKms(
        settings.kms_aws_key, region=settings.kms_aws_region, endpoint=settings.kms_aws_endpoint
    )
