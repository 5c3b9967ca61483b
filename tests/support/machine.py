"""A stack whose processes a test may hurt, and a look behind them to see what is left.

Waiting for a process is done in a thread: meanwhile the requests of the test go on.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from freehold.ledger.client import Connection
from freehold_client.generated.models import LedgerEvent
from freehold_local.errors import StackError
from freehold_local.ports import remembered_ports
from freehold_local.postgres import PrivatePostgres
from freehold_local.services import service_url
from freehold_local.stack import Stack
from support.clients import Freehold, Tenant
from support.waiting import eventually

CATALOG_DATABASE = "freehold_catalog"
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a private stack runs."""

    stack: Stack
    freehold: Freehold

    @asynccontextmanager
    async def without(self, name: str) -> AsyncIterator[None]:
        """Do without a service or server for a while; it is ready in the end, whatever happens."""
        try:
            for process in self.stack.processes(name):
                await asyncio.to_thread(self.stack.stop, process)
            yield
        finally:
            for process in self.stack.processes(name):
                await asyncio.to_thread(self.stack.start, process)

    @asynccontextmanager
    async def alone(self, service: str) -> AsyncIterator[None]:
        """Have a service's first process only for a while: what it knows, the others may not."""
        _, *others = self.stack.processes(service)
        try:
            for process in others:
                await asyncio.to_thread(self.stack.stop, process)
            yield
        finally:
            for process in others:
                await asyncio.to_thread(self.stack.start, process)

    @asynccontextmanager
    async def hanging(self, name: str) -> AsyncIterator[None]:
        """Have a program stand still for a while, alive and answering nothing."""
        await self.send(name, signal.SIGSTOP)
        try:
            yield
        finally:
            await self.send(name, signal.SIGCONT)

    async def wait_until_ready(self, *names: str) -> None:
        """Wait until services and servers answer; all of them where none is named."""
        processes = [process for name in names for process in self.stack.processes(name)]
        await asyncio.to_thread(self.stack.wait_until_ready, *processes)

    async def pid(self, name: str) -> int | None:
        """A program's process id; None where it is between two lives."""
        try:
            return await asyncio.to_thread(self.stack.pid, name)
        except StackError:
            return None

    async def send(self, name: str, number: signal.Signals) -> None:
        """Send a program's process a signal: of a service with several, the first."""
        await asyncio.to_thread(self.stack.signal, name, number)

    async def send_all(self, service: str, number: signal.Signals) -> None:
        """Send every process of a service a signal, whichever of them has what it is about."""
        for process in self.stack.processes(service):
            await self.send(process, number)

    async def replace(self, name: str, number: signal.Signals) -> None:
        """End a program by a signal, and wait until its supervisor has brought it back."""
        before = await self.pid(name)
        await self.send(name, number)

        async def reborn() -> bool:
            return await self.pid(name) not in {None, before}

        await eventually(reborn, f"{name} is started again", within_s=90)
        await asyncio.to_thread(self.stack.wait_until_ready, name)

    @property
    def amqp_url(self) -> str:
        """The way into the broker."""
        return self.stack.env()["FREEHOLD_AMQP_URL"]

    async def metric(self, service: str, name: str, **labels: str) -> float:
        """The value of one of a service's metrics in all its processes; zero where none counted."""
        ports = remembered_ports(self.stack.state / "ports.json")
        first, *others = self.stack.processes(service)
        running = [first, *[process for process in others if await self.pid(process)]]
        answers = [
            await self.freehold.ask("GET", f"{service_url(ports[process])}/metrics")
            for process in running
        ]
        return sum(
            sample.value
            for answer in answers
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @asynccontextmanager
    async def catalog(self) -> AsyncIterator[Connection]:
        """Have a superuser's connection to the catalog for a while."""
        async with self._connected(CATALOG_DATABASE, "catalog") as connection:
            yield connection

    @asynccontextmanager
    async def ledger(self, tenant: Tenant) -> AsyncIterator[Connection]:
        """Have a superuser's connection to a tenant's database for a while."""
        async with self.catalog() as catalog:
            database = await catalog.fetchval(
                "SELECT database_name FROM tenants WHERE tenant_id = $1", tenant.tenant_id
            )
        async with self._connected(database, "ledger") as connection:
            yield connection

    @asynccontextmanager
    async def locked(self, tenant: Tenant, table: str = "ledger_head") -> AsyncIterator[Connection]:
        """Hold a lock for a while that each append waits for; give the connection that holds it.

        Args:
            tenant: Whose ledger it is.
            table: `projection_checkpoint` for the lock that each projection waits for.
        """
        async with self.ledger(tenant) as blocking, blocking.transaction():
            await blocking.execute(f"SELECT FROM {table} FOR UPDATE")
            yield blocking

    async def new_tenant(self) -> Tenant:
        """Have a tenant made whom no reconciliation will come by and help."""
        tenant = await self.freehold.new_tenant()
        async with self.catalog() as catalog:
            await catalog.execute(
                "UPDATE reconciliations SET due_at = now() + interval '1 day' WHERE tenant_id = $1",
                tenant.tenant_id,
            )
        return tenant

    async def assert_each_whole(self, acknowledged: Mapping[Tenant, Iterable[LedgerEvent]]) -> None:
        """Hold several tenants' ledgers to what was acknowledged to each."""
        for tenant, events in acknowledged.items():
            await self.assert_whole(tenant, events)

    async def assert_whole(self, tenant: Tenant, acknowledged: Iterable[LedgerEvent]) -> None:
        """Wait until the lag is zero; then hold the ledger and the state to what was acknowledged.

        Every event that was acknowledged stands in the ledger once, the chain verifies, the state
        is what a replay gives, and no reconciliation had a hand in it.
        """
        await tenant.caught_up()
        async with self.catalog() as catalog:
            assert await catalog.fetchval(
                "SELECT due_at > now() + interval '1 hour' FROM reconciliations"
                " WHERE tenant_id = $1",
                tenant.tenant_id,
            )
        async with self.ledger(tenant) as ledger:
            rows = await ledger.fetch(
                "SELECT event_id::text, seq, amount_minor, metadata ->> 'key' AS key,"
                " metadata ->> 'place' AS place, encode(hash, 'hex') AS hash"
                " FROM ledger_events ORDER BY event_id"
            )
            proof = await ledger.fetchrow("SELECT * FROM verify()")
            differing = await ledger.fetch("SELECT * FROM reconcile()")
            lag = await ledger.fetchrow("SELECT * FROM projection_lag()")
        assert proof is not None
        assert (proof["ok"], proof["reason"]) == (True, None)
        assert proof["events_checked"] == len(rows)
        assert differing == []
        assert lag is not None
        assert lag["head_seq"] == lag["projected_seq"] == len(rows)
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
        held = {row["event_id"]: row for row in rows}
        for event in acknowledged:
            row = held[event.event_id]
            stands = (row["seq"], row["amount_minor"], row["hash"])
            assert stands == (event.seq, event.amount_minor, event.hash)
        # Each request's events are there once, whether or not it was answered.
        marks = [(row["key"], row["place"]) for row in rows if row["key"] is not None]
        assert len(set(marks)) == len(marks)

    async def cut_connections(self) -> int:
        """End every session that the services have with Postgres; say how many there were."""
        async with self.catalog() as catalog:
            ended = await catalog.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND usename <> current_user"
            )
        return len(ended)

    @asynccontextmanager
    async def _connected(self, database: str, schema: str) -> AsyncIterator[Connection]:
        superuser = urlsplit(PrivatePostgres(self.stack.state / "postgres").url)
        connection = await asyncpg.connect(
            superuser._replace(path=f"/{database}").geturl(),
            server_settings={"search_path": schema},
            timeout=_TIMEOUT_S,
            command_timeout=_TIMEOUT_S,
        )
        try:
            yield connection
        finally:
            await connection.close(timeout=5)
