"""Rebuilds a ledger in a database of its own: a backup, then the segments after it, then checks.

Restores and recoveries share this. After a crash it continues after the backup, or after the
segments that are already there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from freehold.contracts.errors import DomainError, NotFound, Outage, Unavailable
from freehold.database.failures import database_failures
from freehold.database.leases import LeaseLostError
from freehold.ledger.schema import LEDGER_SCHEMA, LEDGER_SOURCE
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.history import Base, Plan
from freehold_tenant_manager.archive.segments import Position, SegmentError
from freehold_tenant_manager.dumps.dumps import DumpError, Dumps
from freehold_tenant_manager.operations.operations import Running
from freehold_tenant_manager.restore.examination import examine, find_anchors
from freehold_tenant_manager.restore.replay import Replay
from freehold_tenant_manager.restore.restore_databases import RestoreDatabases
from freehold_tenant_manager.server.migrator import migrate
from freehold_tenant_manager.storage.objects import NotStoredError, StorageError
from freehold_tenant_manager.storage.vault import DamagedError, Vault


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A rebuilt ledger: its version, its end, its segments and how many balances were mended."""

    schema_version: int
    end: Position
    last_recorded_at: datetime
    segments: int
    mended: int

    def shown(self, plan: Plan) -> dict[str, Any]:
        """Give what an operation's result shows of it."""
        recorded_at = self.last_recorded_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return {
            "from_epoch": plan.epoch,
            "backup_id": None if plan.base is None else str(plan.base.backup_id),
            "segments": self.segments,
            "head_seq": self.end.seq,
            "head_hash": self.end.hash.hex(),
            "last_recorded_at": recorded_at if self.end.seq else None,
            "balances_rebuilt": self.mended,
        }


class LedgerRebuild:
    """Makes, fills and examines the database of a restore."""

    def __init__(
        self,
        catalog: Catalog,
        databases: RestoreDatabases,
        replay: Replay,
        vault: Vault,
        dumps: Dumps,
        *,
        timeout_s: float,
    ) -> None:
        """Set its parts; `timeout_s` bounds each statement in the database."""
        self._catalog = catalog
        self._databases = databases
        self._replay = replay
        self._vault = vault
        self._dumps = dumps
        self._timeout_s = timeout_s

    async def load_backup(
        self, running: Running, name: str, passwords: Mapping[str, str], plan: Plan
    ) -> None:
        """Make the database and restore the plan's backup into it, unless that is done.

        Args:
            running: The operation; its state says whether this is done.
            name: The database's name, and its roles' prefix.
            passwords: Those of its login roles, by service.
            plan: What the ledger is made of.

        Raises:
            DamagedError, NotStoredError, StorageError, DumpError: The backup cannot be restored.
        """
        if running.state.get("based") and await self._databases.exists(name):
            return
        await running.save(0.05, "making a database", database=name, based=False)
        with database_failures():
            await self._databases.make(name, passwords, empty=plan.base is not None)
        if plan.base is not None:
            await running.save(0.1, "restoring the backup")
            await self._restore_backup(name, running.tenant, plan.base)
        await running.save(0.4, "replaying what came after", based=True)

    async def replay_and_examine(
        self, running: Running, name: str, plan: Plan, new_epoch: int, *, until: datetime | None
    ) -> Rebuilt:
        """Replay what follows the backup, check all of it, and grant the services their rights.

        Args:
            running: The operation.
            name: The database.
            plan: What the ledger is made of.
            new_epoch: The tenant's next epoch.
            until: Leave out what was recorded later.

        Raises:
            SegmentError, DamagedError, NotStoredError: The ledger is not what is known of it.
            Unavailable: Something does not answer.
        """
        with database_failures():
            async with self._databases.as_owner(name, timeout_s=self._timeout_s) as connection:
                # The backup may be of an earlier release, and so may the database.
                schema_version = await migrate(connection, LEDGER_SOURCE, LEDGER_SCHEMA)
                restored = await self._replay.replay(
                    connection, running.tenant, plan, until=until, report=running.part(0.4, 0.8)
                )
                await running.save(0.8, "checking every hash and balance")
                anchors = await find_anchors(self._catalog, running.tenant, plan, restored.end.seq)
                mended = await examine(connection, anchors, new_epoch)
        await self._databases.hand_over(name)
        return Rebuilt(
            schema_version, restored.end, restored.last_recorded_at, restored.segments, mended
        )

    async def _restore_backup(self, name: str, tenant_id: str, base: Base) -> None:
        async with self._catalog.connection() as connection:
            version = connection.get_server_version().major
        login = self._databases.login(name)
        stored = self._vault.get(tenant_id, base.object_path, digest=base.sha256)
        async with aclosing(stored) as pieces:
            await self._dumps.restore(login, f"{name}_owner", pieces, server_version=version)


@asynccontextmanager
async def rebuild_failures(
    fault: str, give_up: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Turn a rebuild's failures into problems.

    Args:
        fault: What did not happen, for a person.
        give_up: Called where another try cannot succeed; removes what this one made.

    Raises:
        NotFound: The ledger cannot be rebuilt.
        Unavailable: It may be rebuilt later.
    """
    try:
        yield
    except LeaseLostError:
        raise
    except (SegmentError, DamagedError, DumpError, NotStoredError) as error:
        await give_up()
        raise NotFound(f"{fault}: {error}") from error
    except StorageError as error:
        raise Unavailable(f"the archive cannot be reached: {error}") from error
    except DomainError as error:
        if not isinstance(error, Outage):
            await give_up()
        raise
    except Exception:
        await give_up()
        raise
