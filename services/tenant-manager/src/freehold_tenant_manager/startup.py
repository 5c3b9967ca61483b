"""The start: sets the catalog up, in the background, and tries until Postgres is there.

Until then every route answers 503.
"""

import asyncio

import asyncpg
import structlog

from freehold.aio.backoff import backoff_s
from freehold.aio.first_contact import FirstContact
from freehold.contracts.errors import DomainError, Unavailable
from freehold.database.fitness import UnfitServerError
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.catalog.setup import CatalogSetup
from freehold_tenant_manager.storage.objects import StorageError
from freehold_tenant_manager.storage.own_storage import ForeignStorageError, OwnStorage

_log = structlog.get_logger(__name__)

_RETRY_FIRST_S = 0.5
_RETRY_MAX_S = 5.0
_NOT_UP = (OSError, TimeoutError, asyncpg.CannotConnectNowError)
_STORAGE_TIMEOUT_S = 5.0


class Startup:
    """Sets the catalog up and opens it."""

    def __init__(self, setup: CatalogSetup, catalog: Catalog, storage: OwnStorage) -> None:
        self._setup = setup
        self._catalog = catalog
        self._storage = storage
        self.is_done = False
        self.unfitness: str | None = None
        """Why the server or the storage will not do."""

    def require_done(self) -> None:
        """Refuse a request that came too early.

        Raises:
            Unavailable: The catalog is not set up yet.
        """
        if not self.is_done:
            raise Unavailable("the catalog is not set up yet")

    async def run(self) -> None:
        """Try until it succeeds."""
        failures = 0
        first = FirstContact("Postgres")
        is_open = False
        while not self.is_done:
            try:
                await self._setup.run()
                if not is_open:
                    await self._catalog.open()
                    is_open = True
                await self._require_own_storage()
                self.is_done = True
            except (UnfitServerError, ForeignStorageError) as error:
                if self.unfitness != str(error):
                    what = "server" if isinstance(error, UnfitServerError) else "storage"
                    _log.error(f"the {what} will not do", reason=str(error))
                self.unfitness = str(error)
                await asyncio.sleep(_RETRY_MAX_S)
            except Exception as error:  # noqa: BLE001 (any failure is logged, and may pass)
                failures += 1
                pause_s = backoff_s(failures, first_s=_RETRY_FIRST_S, max_s=_RETRY_MAX_S)
                if isinstance(error, _NOT_UP):
                    first.log(error)
                else:
                    _log.warning("catalog not set up yet", fault=repr(error), retry_in_s=pause_s)
                self.unfitness = None
                await asyncio.sleep(pause_s)
        cluster = self._setup.cluster
        _log.info("catalog set up", region=cluster.region, cluster=cluster.name)

    async def _require_own_storage(self) -> None:
        """Refuse another catalog's storage while this catalog has no tenants.

        An empty catalog in the place of a lost one would otherwise begin to make tenants.

        Raises:
            ForeignStorageError: The storage is another catalog's, and this one has no tenants.
        """
        try:
            async with asyncio.timeout(_STORAGE_TIMEOUT_S):
                await self._storage.require_own()
        except ForeignStorageError as error:
            if not await self._catalog.fetchrow("SELECT FROM tenants LIMIT 1"):
                raise
            _log.error("the storage will not do", reason=str(error))
        except (StorageError, DomainError, TimeoutError) as error:
            # Only what needs the storage fails until it answers.
            _log.warning("storage not used yet", fault=str(error) or repr(error))
