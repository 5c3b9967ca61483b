"""Doorbells: taken from the queue, coalesced per tenant, acknowledged when the tenant caught up.

One tenant never blocks another: each has its own worker while doorbells wait. A tenant holds at
most two unacknowledged doorbells: the one it is projected for, and the newest since, which stands
for those in between. While projecting fails it holds one. It also holds one until the catalog knows
when the tenant's next hold expires; balances are projected all the same.
"""

import asyncio
from dataclasses import dataclass, field

import structlog
from pydantic import ValidationError

from freehold.aio.backoff import backoff_s
from freehold.aio.keyed_worker import KeyedWorkers, Worker
from freehold.contracts.errors import DomainError
from freehold.contracts.messages import Appended
from freehold.messaging.broker import Broker, Delivery, LinkError, acknowledge, give_back
from freehold.messaging.spans import doorbell_span
from freehold.messaging.topology import PROJECTOR_QUEUE
from freehold.observability import traces
from freehold.observability.logs import serve_tenant
from freehold.tenants.traffic import Traffic
from freehold_projector.catch_up import CatchUp, UnknownTenantError
from freehold_projector.hold_expiry import HoldExpiries
from freehold_projector.metrics import DOORBELLS, RETRIES
from freehold_projector.parked_queue import park
from freehold_projector.settings import Settings

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Tenant(Worker[str]):
    waiting: list[Delivery] = field(default_factory=list)
    last_seq: int = 0
    causes: traces.Causes = ()
    """What rang its doorbells, in traces."""
    failures: int = 0
    """How often in a row projecting failed."""
    unsaved: int = 0
    """How often in a row the next hold's expiry could not be saved."""

    @property
    def pending(self) -> bool:
        """Whether to go on. What is in trouble goes back to the queue when the process ends."""
        return bool(self.waiting) and not (self.closing and (self.failures or self.unsaved))


class Doorbells:
    """What the projector does with each delivery."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        catch_up: CatchUp,
        hold_expiries: HoldExpiries,
        traffic: Traffic,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._catch_up = catch_up
        self._hold_expiries = hold_expiries
        self._traffic = traffic
        self._tenants = KeyedWorkers(_Tenant, self._serve)

    async def on_delivery(self, delivery: Delivery) -> None:
        """Take a delivery; returns at once."""
        try:
            doorbell = Appended.model_validate_json(delivery.body)
        except ValidationError as error:
            await self._park(delivery, f"not a doorbell: {error.errors()[0]['msg']}")
            return
        tenant = self._tenants.wake(doorbell.subject)
        tenant.waiting.append(delivery)
        tenant.last_seq = max(tenant.last_seq, doorbell.data.last_seq)
        tenant.causes = traces.joined(tenant.causes, traces.received(delivery.headers))
        # Now, not in the next round: a call may take minutes, and unacknowledged doorbells are few.
        await self._keep_newest(tenant)

    async def close(self, timeout_s: float) -> None:
        """Finish what was taken. What is in trouble goes back to the queue."""
        await self._tenants.close(timeout_s)

    async def _serve(self, tenant: _Tenant) -> None:
        serve_tenant(tenant.key)
        taken, tenant.waiting = tenant.waiting, []
        causes, tenant.causes = tenant.causes, ()
        rung_seq = tenant.last_seq
        projected = False
        try:
            with doorbell_span(
                "project",
                causes,
                operation="process",
                destination=PROJECTOR_QUEUE,
                tenant_id=tenant.key,
            ):
                projection = await self._catch_up.project(tenant.key)
            projected = True
            if rung_seq > projection.last_seq:
                _log.warning(
                    "doorbell ahead of the ledger", seq=rung_seq, last_seq=projection.last_seq
                )
            tenant.failures = tenant.last_seq = 0
            await self._hold_expiries.save(tenant.key, projection.next_hold_expiry)
        except Exception as error:  # noqa: BLE001 (retried or parked, whatever it is)
            tenant.waiting[:0] = taken
            tenant.causes = traces.joined(causes, tenant.causes)
            await self._keep_newest(tenant)
            if projected:
                await self._after_unsaved(tenant, error)
            else:
                await self._after_failure(tenant, error)
            return
        tenant.unsaved = 0
        DOORBELLS.labels("served").inc(len(taken))
        await acknowledge(taken)

    async def _after_failure(self, tenant: _Tenant, error: Exception) -> None:
        """Wait before the next try, or park the doorbell if there is no point in one."""
        settings = self._settings
        tenant.failures += 1
        RETRIES.inc()
        self._traffic.failed(tenant.key)
        is_outage = isinstance(error, DomainError)
        failures_max = settings.outage_attempts_max if is_outage else settings.fault_attempts_max
        reason = error.detail if isinstance(error, DomainError) else repr(error)
        if isinstance(error, UnknownTenantError) or tenant.failures >= failures_max:
            await self._park(tenant.waiting.pop(), f"after {tenant.failures} tries: {reason}")
            self._traffic.parked(tenant.key)
            tenant.failures = 0
            return
        pause_s = self._pause_s(tenant.failures)
        _log.warning("projection failed", fault=reason, tries=tenant.failures, pause_s=pause_s)
        await tenant.pause(pause_s)

    async def _after_unsaved(self, tenant: _Tenant, error: Exception) -> None:
        """Wait before the next try to save an expiry; new events are projected at once."""
        tenant.unsaved += 1
        if tenant.unsaved == 1:
            fault = error.detail if isinstance(error, DomainError) else repr(error)
            _log.warning("could not save when a hold expires", fault=fault)
        await tenant.pause(self._pause_s(tenant.unsaved), until_woken=True)

    def _pause_s(self, failures: int) -> float:
        settings = self._settings
        return backoff_s(failures, first_s=settings.retry_first_s, max_s=settings.retry_most_s)

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
