"""What must hold after the traffic, each checked from outside as a tenant or their auditor would.

The ledger's own proof is asked for with the auditor's role: the read-only one a customer is given.
"""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

from freehold.security.key_ring import KeyRing, Sealed
from freehold_client.generated.models import Lag
from freehold_local.demo.sending import Tenant
from freehold_local.errors import StackError

_TIMEOUT_S = 60


@dataclass(frozen=True)
class Check:
    """One promise, and whether it held."""

    promise: str
    held: bool
    detail: str


@dataclass(frozen=True)
class AuditorLogin:
    """A tenant's read-only way into their own database."""

    host: str
    port: int
    database: str
    role: str
    password: str

    async def connect(self, database: str | None = None) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect, to the tenant's own database or to another."""
        return await asyncpg.connect(
            host=self.host,
            port=self.port,
            database=database or self.database,
            user=self.role,
            password=self.password,
            timeout=10,
            command_timeout=_TIMEOUT_S,
            server_settings={"search_path": "ledger"},
        )


async def auditor_logins(
    catalog_dsn: str, credential_keys: str, tenants: list[Tenant]
) -> dict[str, AuditorLogin]:
    """Open the auditors' sealed credentials, as the operator of the catalog can."""
    ring = KeyRing(credential_keys)
    server = urlsplit(catalog_dsn)
    connection = await asyncpg.connect(catalog_dsn, timeout=10, command_timeout=10)
    try:
        rows = await connection.fetch(
            "SELECT tenant_id, database_name, role_name, sealing_key_id, sealed_password"
            " FROM catalog.homes WHERE service = 'auditor' AND tenant_id = ANY ($1::text [])",
            [tenant.tenant_id for tenant in tenants],
        )
    finally:
        await connection.close(timeout=5)
    return {
        row["tenant_id"]: AuditorLogin(
            host=server.hostname or "127.0.0.1",
            port=server.port or 5432,
            database=row["database_name"],
            role=row["role_name"],
            password=ring.open(
                Sealed(row["sealing_key_id"], row["sealed_password"]), row["role_name"]
            ),
        )
        for row in rows
    }


async def all_balances(tenant: Tenant) -> dict[tuple[str, str], int]:
    """Read every balance of a tenant."""
    return {
        (balance.account_id, balance.currency): balance.current_balance_minor
        async for balance in tenant.freehold.list_balances(page_size=1000)
    }


async def check_tenant(tenant: Tenant, login: AuditorLogin) -> list[Check]:
    """Check one tenant's retries, balances, chain and state."""
    name = tenant.tenant_id
    balances = await all_balances(tenant)
    connection = await login.connect()
    try:
        proof = await connection.fetchrow("SELECT * FROM verify()")
        differing = await connection.fetch("SELECT * FROM reconcile()")
    finally:
        await connection.close(timeout=5)
    if proof is None:
        raise StackError("verify() answered nothing")
    events = tenant.traffic.events
    return [
        Check(
            f"{name}: retries made nothing twice",
            tenant.retries_replayed == tenant.retries and proof["head_seq"] == events,
            f"{tenant.retries} retries answered as before; {proof['head_seq']:,} of "
            f"{events:,} events in the ledger",
        ),
        Check(
            f"{name}: balances are what they must be",
            balances == dict(tenant.traffic.balances),
            f"{len(balances):,} balances compared with sums made outside Freehold",
        ),
        Check(
            f"{name}: verify()",
            proof["ok"] and proof["events_checked"] == events,
            f"{proof['events_checked']:,} hashes recomputed, "
            f"the last is {proof['head_hash'].hex()[:12]}…",
        ),
        Check(
            f"{name}: reconcile()",
            not differing,
            f"{len(differing)} accounts differ from a replay of the ledger",
        ),
    ]


async def check_isolation(
    one: Tenant, other: Tenant, logins: dict[str, AuditorLogin]
) -> list[Check]:
    """Check that one tenant's key and database role cannot see another's ledger."""
    path = f"/v1/events/{next(iter(other.event_ids.values()))}"
    event = await one.freehold.request("GET", path)
    theirs = await other.freehold.request("GET", path)
    try:
        connection = await logins[one.tenant_id].connect(logins[other.tenant_id].database)
        await connection.close(timeout=5)
        refused = "it connected"
    except asyncpg.InsufficientPrivilegeError as error:
        refused = str(error).splitlines()[0]
    pair = f"{one.tenant_id} cannot see {other.tenant_id}"
    return [
        Check(
            f"{pair}: API key",
            event.status_code == 404 and theirs.status_code == 200,
            f"an event of {other.tenant_id} answers {event.status_code}, "
            f"to its owner {theirs.status_code}",
        ),
        Check(f"{pair}: database role", refused.startswith("permission denied"), refused),
    ]


async def wait_until_projected(tenant: Tenant, timeout_s: float) -> Lag:
    """Wait until the state has caught up with the ledger; give the lag as it is then.

    Raises:
        StackError: It did not, in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                lag = await tenant.freehold.get_lag()
                if lag.events_behind == 0:
                    return lag
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise StackError(f"{tenant.tenant_id} is not projected after {timeout_s:g} s") from None
