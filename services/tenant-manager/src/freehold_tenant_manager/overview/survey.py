"""The state of the whole installation, from the catalog, the broker and tenants' databases."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import structlog
from pydantic import SecretStr

from freehold.ledger import client
from freehold.messaging.broker import LOST
from freehold.messaging.redrive import count_parked
from freehold.tenants.catalog import Catalog
from freehold.tenants.homes import Home
from freehold_tenant_manager.contracts.overview import (
    WORST_MAX,
    BrokerState,
    InstallationOverview,
    LagOverview,
    TenantLag,
)
from freehold_tenant_manager.overview.ledgers import Ledgers
from freehold_tenant_manager.overview.store import (
    count_tenants,
    list_living,
    summarise_backups,
    summarise_reconciliations,
)

_log = structlog.get_logger(__name__)

# Together below the deadline of a request.
_TENANTS_S = 4.0
_BROKER_S = 2.0


class Survey:
    """Looks at all tenants, and at what is parked."""

    def __init__(
        self,
        catalog: Catalog,
        ledgers: Ledgers,
        amqp_url: SecretStr | None,
        *,
        at_once: int,
        backup_every_s: float,
        backup_verify_every_s: float,
    ) -> None:
        """Set where to look.

        Args:
            catalog: Knows the tenants and their backups.
            ledgers: Tenants' databases.
            amqp_url: The broker, if one is known.
            at_once: Tenants' databases that are asked at once.
            backup_every_s: Seconds between two backups of a tenant; 0 where none are made.
            backup_verify_every_s: The same for the trials of backups.
        """
        self._catalog = catalog
        self._ledgers = ledgers
        self._amqp_url = amqp_url
        self._at_once = at_once
        self._backup_every_s = backup_every_s
        self._backup_verify_every_s = backup_verify_every_s

    async def overview(self, *, asks_tenants: bool = True) -> InstallationOverview:
        """Give the state of the installation.

        Args:
            asks_tenants: Whether tenants' databases are asked for their lag. If not, it is of none.

        Raises:
            Unavailable: The catalog does not answer.
        """
        async with self._catalog.connection() as connection:
            tenants = await count_tenants(connection)
            backups, trials = await summarise_backups(
                connection, every_s=self._backup_every_s, verify_every_s=self._backup_verify_every_s
            )
            reconciliations = await summarise_reconciliations(connection)
            asked = await list_living(connection) if asks_tenants else []
            homes = [await self._ledgers.home(connection, tenant_id) for tenant_id in asked]
        lag, (broker, parked) = await asyncio.gather(self._lag(homes), self.parked())
        return InstallationOverview(
            tenants=tenants,
            lag=lag,
            backups=backups,
            trials=trials,
            reconciliations=reconciliations,
            broker=broker,
            parked_doorbells=parked,
        )

    async def _lag(self, homes: Sequence[Home | None]) -> LagOverview:
        """Ask the tenants' databases, as many as answer in time."""
        answers: list[TenantLag | None] = []
        waiting = deque(homes)

        async def ask() -> None:
            while waiting:
                answers.append(await self._lag_of(waiting.popleft()))

        with suppress(TimeoutError):
            async with asyncio.timeout(_TENANTS_S), asyncio.TaskGroup() as group:
                for _ in range(min(self._at_once, len(homes))):
                    group.create_task(ask())
        found = [answer for answer in answers if answer is not None]
        behind = [lag for lag in found if lag.events_behind]
        behind.sort(key=lambda lag: (-lag.seconds_behind, -lag.events_behind))
        return LagOverview(
            tenants_asked=len(found),
            tenants_silent=len(answers) - len(found),
            tenants_unasked=len(homes) - len(answers),
            events_behind=sum(lag.events_behind for lag in behind),
            seconds_behind=behind[0].seconds_behind if behind else 0.0,
            worst=behind[:WORST_MAX],
        )

    async def _lag_of(self, home: Home | None) -> TenantLag | None:
        lag = await self._ledgers.ask(home, client.projection_lag) if home else None
        if home is None or lag is None:
            return None
        return TenantLag(
            tenant_id=home.tenant_id,
            events_behind=lag.events_behind,
            seconds_behind=lag.seconds_behind,
        )

    async def parked(self) -> tuple[BrokerState, int | None]:
        """Say whether the broker answers, and how many doorbells are parked there."""
        if self._amqp_url is None:
            return "unset", None
        url = self._amqp_url.get_secret_value()
        try:
            return "answers", await count_parked(url, timeout_s=_BROKER_S)
        except LOST as error:
            _log.warning("broker silent", fault=repr(error))
            return "silent", None
