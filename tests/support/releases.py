"""Tenants as an earlier release has left them: an earlier ledger, and fewer roles.

They are made by hand and in bulk, faster than tenant-manager would make them one after the other.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_SCHEMA, LEDGER_SOURCE, SchemaSource
from freehold.security.key_ring import KeyRing
from freehold_local.postgres import PrivatePostgres
from freehold_local.stack import Stack
from freehold_tenant_manager.server.migrator import migrate
from freehold_tenant_manager.server.scram import scram_verifier

ROLES = ("ingest", "projector", "query", "auditor")
_AT_ONCE = 3
_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Left:
    """A tenant that was left."""

    tenant_id: str
    database: str


@dataclass(frozen=True, slots=True)
class EarlierRelease:
    """What makes them, on a server and in a catalog that this release has set up."""

    server_url: str
    """As its superuser."""
    catalog: str
    tenant_manager_role: str
    """Whose roles the tenants' are."""
    key_ring: KeyRing
    source: SchemaSource | None = LEDGER_SOURCE
    """Of their ledgers; None: these are still to be made, and have version 0."""

    @property
    def version(self) -> int:
        """The version that their ledgers have."""
        return self.source.version if self.source else 0

    async def leave(self, count: int) -> list[Left]:
        """Make tenants without events, whom no reconciliation comes by soon."""
        tenants = [Left(f"old-{n:04}-{secrets.token_hex(3)}", _name()) for n in range(count)]
        template, owner = f"{_name()}_template", f"{_name()}_template_owner"
        async with self.connected("postgres") as superuser:
            await superuser.execute(f"CREATE ROLE {owner} NOLOGIN")
            await superuser.execute(
                f"CREATE DATABASE {template} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
            )
        try:
            async with self.connected(template) as ledger:
                await ledger.execute(
                    "DROP SCHEMA public;"
                    f"GRANT CREATE ON DATABASE {template} TO {owner};"
                    f"SET ROLE {owner}"
                )
                await ledger.execute(f"CREATE SCHEMA {LEDGER_SCHEMA}")
                if self.source:
                    await migrate(ledger, self.source, LEDGER_SCHEMA)
            await self._make_databases(tenants, template, owner)
        finally:
            async with self.connected("postgres") as superuser:
                await superuser.execute(f"DROP DATABASE {template} WITH (FORCE)")
                await superuser.execute(f"DROP ROLE {owner}")
        return tenants

    async def _make_databases(self, tenants: Sequence[Left], template: str, owner: str) -> None:
        left = iter(tenants)

        async def work() -> None:
            async with (
                self.connected("postgres") as superuser,
                self.connected(self.catalog, "catalog") as catalog,
            ):
                for tenant in left:
                    await self._record(superuser, catalog, tenant)
                    await superuser.execute(
                        f"CREATE DATABASE {tenant.database} OWNER {tenant.database}_owner"
                        f" TEMPLATE {template} STRATEGY wal_log"
                    )
                    await superuser.execute(
                        f"REVOKE ALL ON DATABASE {tenant.database} FROM PUBLIC;"
                        f"GRANT CONNECT ON DATABASE {tenant.database} TO {_roles(tenant)}"
                    )
                    async with self.connected(tenant.database) as ledger:
                        await ledger.execute(
                            f"""
                            ALTER SCHEMA ledger OWNER TO {tenant.database}_owner;
                            REASSIGN OWNED BY {owner} TO {tenant.database}_owner;
                            SET ROLE {tenant.database}_owner;
                            REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;
                            GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger TO {_roles(tenant)};
                            GRANT USAGE ON SCHEMA ledger TO {_roles(tenant)};
                            GRANT SELECT ON ALL TABLES IN SCHEMA ledger
                            TO {tenant.database}_auditor;
                            """
                        )

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())

    async def _record(self, superuser: Connection, catalog: Connection, tenant: Left) -> None:
        """Make the roles, as tenant-manager's own, and the rows of the catalog."""
        passwords = {f"{tenant.database}_{role}": secrets.token_urlsafe(8) for role in ROLES}
        made = [f"CREATE ROLE {tenant.database}_owner NOLOGIN"] + [
            f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 100 PASSWORD '{scram_verifier(password)}'"
            for name, password in passwords.items()
        ]
        await superuser.execute(f"SET ROLE {self.tenant_manager_role}")
        await superuser.execute(";".join(made))
        await superuser.execute("RESET ROLE")
        async with catalog.transaction():
            await catalog.execute(
                "INSERT INTO tenants (tenant_id, name, region, isolation, status, cluster,"
                " database_name, schema_name, schema_version)"
                " SELECT $1, 'Left behind', region, 'database', 'active', cluster, $2, $3, $4"
                " FROM clusters",
                tenant.tenant_id,
                tenant.database,
                LEDGER_SCHEMA,
                self.version,
            )
            sealed = {name: self.key_ring.seal(passwords[name], name) for name in passwords}
            await catalog.executemany(
                "INSERT INTO credentials"
                " (database_name, service, sealing_key_id, sealed_password)"
                " VALUES ($1, $2, $3, $4)",
                [
                    (tenant.database, name.rpartition("_")[2], seal.key_id, seal.box)
                    for name, seal in sealed.items()
                ],
            )
            await catalog.execute(
                "INSERT INTO reconciliations (tenant_id, due_at)"
                " VALUES ($1, now() + interval '1 day')",
                tenant.tenant_id,
            )

    @asynccontextmanager
    async def connected(self, database: str, schema: str = "public") -> AsyncIterator[Connection]:
        """Have a superuser's connection to a database for a while."""
        connection = await asyncpg.connect(
            urlsplit(self.server_url)._replace(path=f"/{database}").geturl(),
            server_settings={"search_path": schema},
            timeout=_TIMEOUT_S,
            command_timeout=_TIMEOUT_S,
        )
        try:
            yield connection
        finally:
            await connection.close(timeout=10)


def _name() -> str:
    return f"fh_{secrets.token_hex(8)}"


def _roles(tenant: Left) -> str:
    return ", ".join(f"{tenant.database}_{role}" for role in ROLES)


def earlier_release_of(stack: Stack, source: SchemaSource | None = LEDGER_SOURCE) -> EarlierRelease:
    """An earlier release on a stack's server."""
    return EarlierRelease(
        PrivatePostgres(stack.state / "postgres").url,
        urlsplit(stack.env()["FREEHOLD_CATALOG_DSN"]).path.removeprefix("/"),
        urlsplit(stack.env()["FREEHOLD_CATALOG_DSN"]).username or "",
        KeyRing(stack.credential_keys),
        source,
    )
