"""Recovery of a lost server: storage and keys remain, and all comes back on an empty server.

First comes the catalog, from its newest version in the storage: tenants, API keys, passwords,
epochs and backups. Then an operation brings each tenant's ledger back; after a crash the command,
run again, or the service continues. A server that has tenants is refused, so nothing is destroyed.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg
import structlog

from freehold.contracts.errors import DomainError
from freehold.database.fitness import UnfitServerError
from freehold.ledger.client import Connection
from freehold.tenants.catalog import CATALOG_SCHEMA, Catalog
from freehold_tenant_manager.catalog.installation import read_installation
from freehold_tenant_manager.catalog.setup import CatalogSetup
from freehold_tenant_manager.catalog.source import CATALOG_SOURCE
from freehold_tenant_manager.operations.kinds import RECOVERY
from freehold_tenant_manager.operations.operations import Operations
from freehold_tenant_manager.operations.store import OperationRow, ask_for_operation, list_last_of
from freehold_tenant_manager.recovery.shipper import NOT_SHIPPED, Shipper
from freehold_tenant_manager.recovery.snapshot import Header, SnapshotError, load
from freehold_tenant_manager.recovery.store import (
    adapt,
    find_occupation,
    list_clusters,
    list_databases,
    list_known,
    list_recovering,
)
from freehold_tenant_manager.recovery.versions import Version, Versions
from freehold_tenant_manager.server.locks import Lock, locked
from freehold_tenant_manager.server.migrator import migrate
from freehold_tenant_manager.server.server import Server
from freehold_tenant_manager.storage.data_keys import CATALOG, DataKeys
from freehold_tenant_manager.storage.kms import KeyManagementError
from freehold_tenant_manager.storage.objects import StorageError
from freehold_tenant_manager.storage.own_storage import OwnStorage
from freehold_tenant_manager.storage.vault import DamagedError

_log = structlog.get_logger(__name__)

_LOCK_TIMEOUT_S = 120.0
_TABLE_TIMEOUT_S = 600.0
_LOOK_S = 0.5


class RecoveryError(Exception):
    """Nothing was changed; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A tenant's ledger after the recovery."""

    tenant_id: str
    status: str
    message: str
    epoch: int | None = None
    head_seq: int | None = None
    head_hash: str | None = None
    last_recorded_at: str | None = None
    backup_id: str | None = None
    damaged_backups: Sequence[str] = ()
    passwords_replaced: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a recovery."""

    version: int
    catalog_taken_at: datetime | None
    tenants: Sequence[Recovered]
    undone: Sequence[str]
    unknown: Sequence[str]
    shipped_version: int | None

    @property
    def is_whole(self) -> bool:
        """Say whether every tenant that the storage knows is back."""
        return not self.unknown and all(one.status == "recovered" for one in self.tenants)

    def as_json(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return {"ok": self.is_whole, **asdict(self)}


Show = Callable[[Sequence[OperationRow]], None]


class Recovery:
    """Brings a server back from the storage."""

    def __init__(
        self,
        server: Server,
        setup: CatalogSetup,
        catalog: Catalog,
        operations: Operations,
        own_storage: OwnStorage,
        shipper: Shipper,
        *,
        data_keys: DataKeys,
        versions: Versions,
        storage_url: str,
    ) -> None:
        """Set where everything comes back to, and from.

        Args:
            server: Where it comes back.
            setup: Sets the catalog up there.
            catalog: Opened once it is loaded.
            operations: Do the recoveries of ledgers.
            own_storage: The storage, used as the recovered catalog's.
            shipper: Stores the recovered catalog.
            data_keys: The keys in the storage; not checked for the catalog that they belong to,
                which is not loaded yet.
            versions: The catalog's versions in the storage, not checked either.
            storage_url: Names the storage to a person.
        """
        self._server = server
        self._setup = setup
        self._catalog = catalog
        self._operations = operations
        self._own_storage = own_storage
        self._shipper = shipper
        self._data_keys = data_keys
        self._versions = versions
        self._storage_url = storage_url
        self._header: Header | None = None
        self._undone: Sequence[str] = ()

    async def list(self) -> Sequence[Version]:
        """List the catalog's versions, the newest first.

        Raises:
            RecoveryError: The storage does not answer, or has none.
        """
        try:
            versions = await self._versions.list()
        except StorageError as error:
            raise RecoveryError(f"the storage does not answer: {error}") from error
        if not versions:
            raise RecoveryError(
                f"{self._storage_url} has no version of a catalog: is it the right"
                " storage, and is it mounted?"
            )
        return versions

    async def run(self, number: int | None, show: Show) -> Report:
        """Bring everything back, or continue after an interruption.

        Args:
            number: The catalog's version; None for the newest.
            show: Called twice a second with the tenants' operations.

        Raises:
            RecoveryError: It was not begun.
            Unavailable: The server goes away meanwhile: run it again.
        """
        try:
            await self._setup.make_database()
            if not await self._is_begun(number):
                await self._load(number)
            await self._setup.run()
        except UnfitServerError as error:
            raise RecoveryError(f"the Postgres server will not do: {error}") from error
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise RecoveryError(f"the Postgres server does not do as asked: {error!r}") from error
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._catalog.close)
            await self._catalog.open()
            stack.push_async_callback(self._operations.close)
            return await self._recover(show)

    async def _is_begun(self, number: int | None) -> bool:
        """Say whether an earlier run has already loaded the catalog.

        Raises:
            RecoveryError: The server is not empty for another reason.
        """
        async with self._server.catalog() as connection:
            return await self._require_empty(connection, number)

    async def _require_empty(self, connection: Connection, number: int | None) -> bool:
        found = await find_occupation(connection)
        if found is None:
            return False
        if found.recovered_version is not None:
            if number not in (None, found.recovered_version):
                raise RecoveryError(
                    f"this server was recovered from version {found.recovered_version} of the"
                    " catalog; another one needs an empty server"
                )
            return True
        if found.tenants or found.pool_databases:
            raise RecoveryError(
                f"the catalog {self._server.catalog_name} on this server is not empty:"
                f" {found.tenants} tenants, {found.pool_databases} databases made ahead. Nothing"
                " was changed; recover on an empty server"
            )
        return False

    async def _load(self, number: int | None) -> None:
        version = await self._choose(number)
        self._header = await self._examine(version)
        if self._header.schema_version > CATALOG_SOURCE.version:
            raise RecoveryError(
                f"version {version} of the catalog is of a later release: its schema is"
                f" {self._header.schema_version}, and this release knows"
                f" {CATALOG_SOURCE.version}"
            )
        async with (
            self._server.catalog(statement_timeout_s=_TABLE_TIMEOUT_S) as connection,
            locked(connection, Lock.SETUP, timeout_s=_LOCK_TIMEOUT_S),
        ):
            if await self._require_empty(connection, number):
                return
            # Without tenants and databases it has only what every start makes.
            await connection.execute("DROP SCHEMA IF EXISTS catalog CASCADE")
            # Rows of an earlier schema fit: a column that they lack gets its default.
            await migrate(connection, CATALOG_SOURCE, CATALOG_SCHEMA)
            own = uuid4()
            try:
                async with connection.transaction():
                    async with aclosing(self._versions.get(version)) as pieces:
                        await load(connection, pieces)
                    self._undone = await adapt(connection, own, version)
                    # In this transaction, so that they are each tenant's first operation.
                    await _ask_for_recoveries(connection)
                    await self._require_fitting(connection)
                    # From now on the old server, if it is still alive, writes nothing there.
                    await self._own_storage.mark(own)
            except (StorageError, DamagedError, SnapshotError) as error:
                raise RecoveryError(f"version {version} was not loaded: {error}") from error
            except DomainError as error:
                raise RecoveryError(f"version {version} was not loaded: {error.detail}") from error
        _log.info("catalog loaded", version=version, taken_at=str(self._header.taken_at))

    async def _require_fitting(self, connection: Connection) -> None:
        """Refuse a server that the tenants cannot live on, or still live on."""
        clusters = await list_clusters(connection)
        own = self._setup.cluster.name
        if set(clusters) - {own}:
            raise RecoveryError(
                f"the tenants live on the cluster {', '.join(clusters)}, and FREEHOLD_CLUSTER is"
                f" {own}: set it to theirs"
            )
        databases = await list_databases(connection)
        if databases:
            raise RecoveryError(
                f"this server has databases of these tenants: {', '.join(databases[:5])}"
                f"{' …' if len(databases) > 5 else ''}. Nothing was changed; recover on an empty"
                " server"
            )

    async def _choose(self, number: int | None) -> int:
        numbers = [version.number for version in await self.list()]
        if number is None:
            return numbers[0]
        if number not in numbers:
            raise RecoveryError(
                f"there is no version {number} of the catalog; the newest is {numbers[0]}"
            )
        return number

    async def _examine(self, number: int) -> Header:
        """Read a whole version.

        A damaged one is not replaced by an older one without a decision by the operator: keys
        revoked since then would be valid again.
        """
        try:
            await self._data_keys.adopt(CATALOG)
            return await self._versions.examine(number)
        except KeyManagementError as error:
            raise RecoveryError(f"the catalog's data key does not open: {error}") from error
        except SnapshotError as error:
            raise RecoveryError(f"version {number} of the catalog: {error}") from error
        except DamagedError as error:
            whole = await self._find_whole(number)
            advice = (
                "and so are all before it"
                if whole is None
                else f"the newest before it that is whole is {whole[0]}, of"
                f" {whole[1].taken_at:%Y-%m-%d %H:%M:%S} UTC: take it with --version {whole[0]},"
                " and expect that keys revoked since are good again"
            )
            raise RecoveryError(
                f"version {number} of the catalog is damaged ({error}); {advice}"
            ) from error
        except StorageError as error:
            raise RecoveryError(f"the storage does not answer: {error}") from error
        except DomainError as error:
            raise RecoveryError(error.detail) from error

    async def _find_whole(self, before: int) -> tuple[int, Header] | None:
        for version in await self.list():
            if version.number < before:
                try:
                    return version.number, await self._versions.examine(version.number)
                except (DamagedError, SnapshotError):
                    continue
        return None

    async def _recover(self, show: Show) -> Report:
        async with self._catalog.connection() as connection:
            known = await read_installation(connection)
            # Ask again for those that failed the last time.
            await _ask_for_recoveries(connection)
        await self._operations.open()
        while True:
            async with self._catalog.connection() as connection:
                operations = await list_last_of(connection, RECOVERY)
            show(operations)
            if all(operation.finished_at is not None for operation in operations):
                break
            await asyncio.sleep(_LOOK_S)
        async with self._catalog.connection() as connection:
            tenants = set(await list_known(connection))
        unknown: Sequence[str] = ()
        try:
            found = await self._own_storage.folders("tenants")
            unknown = [tenant_id for tenant_id in found if tenant_id not in tenants]
        except (StorageError, DomainError) as error:
            _log.warning("the storage's tenants are not listed", fault=str(error))
        return Report(
            version=known.recovered_version or 0,
            catalog_taken_at=None if self._header is None else self._header.taken_at,
            tenants=[_recovered(operation) for operation in operations],
            undone=self._undone,
            unknown=unknown,
            shipped_version=await self._ship(),
        )

    async def _ship(self) -> int | None:
        try:
            return await self._shipper.ship()
        except (*NOT_SHIPPED, DomainError) as error:
            # The service tries again, and logs it.
            _log.warning("catalog not shipped yet", fault=repr(error))
            return None


async def _ask_for_recoveries(connection: Connection) -> None:
    for tenant_id in await list_recovering(connection):
        await ask_for_operation(connection, RECOVERY, tenant_id, {})


def _recovered(operation: OperationRow) -> Recovered:
    result = operation.result or {}
    return Recovered(
        tenant_id=operation.tenant_id or "",
        status="recovered" if operation.status == "succeeded" else "failed",
        message=operation.message,
        **{name: result[name] for name in _SHOWN if name in result},
    )


_SHOWN = (
    *("epoch", "head_seq", "head_hash", "last_recorded_at", "backup_id"),
    *("damaged_backups", "passwords_replaced"),
)
