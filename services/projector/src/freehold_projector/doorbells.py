"""Doorbells: taken from the queue, coalesced per tenant, acknowledged once the tenant caught up.

One tenant never blocks another: each has a task of its own while doorbells wait, and holds no more
of them unacknowledged than the one it is projected for and the newest since, which stands for those
before it. A tenant in trouble holds a single one. So does one whose next hold's expiry the catalog
has yet to take a note of; they are projected all the same.
"""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from pydantic import ValidationError

from freehold.contracts.messages import Appended
from freehold.contracts.problems import Problem
from freehold.messaging.broker import Broker, Delivery, LinkError, acknowledge, give_back
from freehold_projector.catching_up import CatchingUp, UnknownTenantError
from freehold_projector.hold_expiry import HoldExpiries
from freehold_projector.metrics import DOORBELLS, RETRIES
from freehold_projector.parking import park
from freehold_projector.settings import Settings

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Tenant:
    tenant_id: str
    waiting: list[Delivery] = field(default_factory=list)
    last_seq: int = 0
    attempts: int = 0
    unnoted: int = 0
    """How often the next hold's expiry could not be noted."""
    rung: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def in_trouble(self) -> bool:
        return self.attempts > 0 or self.unnoted > 0


class Doorbells:
    """What the projector does with each delivery."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._broker: Broker
        self._catching_up: CatchingUp
        self._hold_expiries: HoldExpiries
        self._tenants: dict[str, _Tenant] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    def attach(self, broker: Broker, catching_up: CatchingUp, hold_expiries: HoldExpiries) -> None:
        """Say where doorbells are parked and who serves them, before the first delivery."""
        self._broker = broker
        self._catching_up = catching_up
        self._hold_expiries = hold_expiries

    async def on_delivery(self, delivery: Delivery) -> None:
        """Take a delivery; returns at once."""
        try:
            doorbell = Appended.model_validate_json(delivery.body)
        except ValidationError as error:
            await self._park(delivery, f"not a doorbell: {error.errors()[0]['msg']}")
            return
        tenant = self._tenants.get(doorbell.subject)
        fresh = tenant is None
        if tenant is None:
            tenant = self._tenants[doorbell.subject] = _Tenant(doorbell.subject)
        tenant.waiting.append(delivery)
        tenant.last_seq = max(tenant.last_seq, doorbell.data.last_seq)
        tenant.rung.set()
        if fresh:
            task = asyncio.create_task(self._serve(tenant))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # A call may wait for minutes, and the broker lets us hold only so many.
        await self._keep_newest(tenant)

    async def drain(self, timeout_s: float) -> None:
        """Finish what was taken; whatever is in trouble goes back to the queue."""
        self._stopping.set()
        for tenant in self._tenants.values():
            tenant.rung.set()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)

    async def _serve(self, tenant: _Tenant) -> None:
        try:
            with structlog.contextvars.bound_contextvars(tenant_id=tenant.tenant_id):
                while tenant.waiting and not (tenant.in_trouble and self._stopping.is_set()):
                    await self._serve_waiting(tenant)
        finally:
            # No await between seeing nothing waiting and leaving: no doorbell is overlooked.
            del self._tenants[tenant.tenant_id]

    async def _serve_waiting(self, tenant: _Tenant) -> None:
        taken, tenant.waiting = tenant.waiting, []
        rung_seq = tenant.last_seq
        tenant.rung.clear()
        try:
            projection = await self._catching_up.catch_up(tenant.tenant_id)
        except Exception as error:  # noqa: BLE001 (retried or parked, whatever it is)
            tenant.waiting[:0] = taken
            await self._keep_newest(tenant)
            await self._after_failure(tenant, error)
            return
        if rung_seq > projection.last_seq:
            _log.warning("doorbell ahead of the ledger", seq=rung_seq, last_seq=projection.last_seq)
        tenant.attempts = 0
        tenant.last_seq = 0
        try:
            await self._hold_expiries.note(tenant.tenant_id, projection.next_hold_expiry)
        except Exception as error:  # noqa: BLE001 (tried again, whatever it is)
            tenant.waiting[:0] = taken
            await self._keep_newest(tenant)
            await self._until_rung_again(tenant, error)
            return
        tenant.unnoted = 0
        DOORBELLS.labels("served").inc(len(taken))
        await acknowledge(taken)

    async def _after_failure(self, tenant: _Tenant, error: Exception) -> None:
        """Wait before the next try, or park where there is no point in one."""
        settings = self._settings
        tenant.attempts += 1
        RETRIES.inc()
        outage = isinstance(error, Problem)
        attempts_max = settings.outage_attempts_max if outage else settings.fault_attempts_max
        reason = error.detail if isinstance(error, Problem) else repr(error)
        if isinstance(error, UnknownTenantError) or tenant.attempts >= attempts_max:
            newest = tenant.waiting.pop()
            await self._park(newest, f"after {tenant.attempts} tries: {reason}")
            tenant.attempts = 0
            return
        pause = self._pause(tenant.attempts)
        _log.warning("projection failed", fault=reason, tries=tenant.attempts, pause_s=pause)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause)

    async def _until_rung_again(self, tenant: _Tenant, error: Exception) -> None:
        """Wait before the next try to note an expiry; balances must not wait for it."""
        tenant.unnoted += 1
        if tenant.unnoted == 1:
            fault = error.detail if isinstance(error, Problem) else repr(error)
            _log.warning("could not note when a hold expires", fault=fault)
        if not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(tenant.rung.wait(), self._pause(tenant.unnoted))

    def _pause(self, tries: int) -> float:
        settings = self._settings
        pause = min(settings.retry_first_s * 2.0 ** min(tries - 1, 30), settings.retry_most_s)
        # Spread out, so that an outage's end is not met by every tenant at once.
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)

    async def _keep_newest(self, tenant: _Tenant) -> None:
        older, tenant.waiting = tenant.waiting[:-1], tenant.waiting[-1:]
        if older:
            DOORBELLS.labels("superseded").inc(len(older))
            await acknowledge(older)

    async def _park(self, delivery: Delivery, reason: str) -> None:
        try:
            await park(self._broker, delivery, reason)
        except LinkError as error:
            _log.warning("could not park; it comes again", reason=reason, fault=repr(error))
            await asyncio.sleep(self._settings.retry_first_s)
            await give_back(delivery)
