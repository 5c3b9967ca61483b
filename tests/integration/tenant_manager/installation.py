"""tenant-manager on a real server, as a role that makes databases and roles and is no superuser.

Some names belong to the whole server: the services' logins, the template and its owner. Passwords
are left as they were found, and a server that goes on running is left without a trace.
"""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from freehold.ledger.client import Connection
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold.tenants.directory import Directory
from freehold.tenants.homes import Home
from freehold_local.database import bootstrap
from freehold_tenant_manager.application import build_application
from freehold_tenant_manager.http.components import Components
from freehold_tenant_manager.server.roles import SERVICES as TENANT_SERVICES
from freehold_tenant_manager.settings import Settings
from support.servers import POSTGRES_URL
from support.waiting import PATIENCE_S

OPERATOR_TOKEN = "operator-" + secrets.token_hex(8)
CREDENTIAL_KEYS = "test:" + base64.b64encode(bytes(range(32))).decode()
KEY_RING = KeyRing(CREDENTIAL_KEYS)
SERVICES = ("ingest", "projector", "query")
_SHARED_ROLES = (*(f"freehold_{service}" for service in SERVICES), "freehold_template_owner")


@dataclass(frozen=True, slots=True)
class Installation:
    """A server for tenant-manager, and its role there."""

    server_url: str
    role: str
    password: str
    folder: Path

    @property
    def address(self) -> tuple[str, int]:
        """Where the server is."""
        parts = urlsplit(self.server_url)
        return parts.hostname or "localhost", parts.port or 5432

    def url(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """Make the URL of one of the server's databases, for a role or for the superuser."""
        parts = urlsplit(self.server_url)._replace(path=f"/{database}")
        if user is not None:
            host, port = self.address
            parts = parts._replace(netloc=f"{user}:{password}@{host}:{port}")
        return parts.geturl()

    def settings(
        self, catalog: str | None = None, *, address: tuple[str, int] | None = None, **choices: Any
    ) -> Settings:
        """Make tenant-manager's settings, for one of any number of catalogs on the server.

        Without a name, the catalog is a new one.
        """
        catalog = catalog or f"freehold_test_catalog_{secrets.token_hex(6)}"
        host, port = address or self.address
        given: dict[str, Any] = {
            "catalog_dsn": f"postgresql://{self.role}:{self.password}@{host}:{port}/{catalog}",
            "credential_keys": CREDENTIAL_KEYS,
            "operator_token": OPERATOR_TOKEN,
            "storage_url": (self.folder / catalog / "storage").as_uri(),
            "kms_key_file": self.folder / catalog / "kms.keys",
            **{f"{service}_password": service_password(service) for service in SERVICES},
            # A test that is not about the pool is not to wait for the making of databases.
            "pool_size": 0,
        }
        return Settings(**(given | choices))

    @asynccontextmanager
    async def superuser(self, database: str = "postgres") -> AsyncIterator[Connection]:
        """Have a superuser's connection for a while."""
        connection = await asyncpg.connect(self.url(database), timeout=10)
        try:
            yield connection
        finally:
            await connection.close(timeout=10)

    async def drop_database(self, name: str) -> None:
        """Drop a database, and end its sessions."""
        async with self.superuser() as superuser:
            await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def catalog(self, settings: Settings, service: str) -> Catalog:
        """Make a service's way into the catalog."""
        dsn = self.url(settings.catalog_name, f"freehold_{service}", service_password(service))
        return Catalog(dsn, application="test", timeout_s=5)

    @asynccontextmanager
    async def directory(self, settings: Settings, service: str) -> AsyncIterator[Directory]:
        """Have a service's directory, which hears of changes, for a while."""
        catalog = self.catalog(settings, service)
        directory = Directory(catalog, KEY_RING)
        await catalog.open(directory.changed)
        try:
            while not catalog.reachable:  # noqa: ASYNC110 (as others do)
                await asyncio.sleep(0.01)
            yield directory
        finally:
            await catalog.close()


def service_password(service: str) -> str:
    return f"password-of-{service}"


@asynccontextmanager
async def connected(home: Home) -> AsyncIterator[Connection]:
    """Have a connection to a tenant's database for a while, as services have it."""
    connection = await asyncpg.connect(
        host=home.host,
        port=home.port,
        database=home.database,
        user=home.role,
        password=home.password,
        timeout=10,
        server_settings={"search_path": home.schema},
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=10)


@asynccontextmanager
async def new_installation(server_url: str, folder: Path) -> AsyncIterator[Installation]:
    """Make tenant-manager's role, and in the end put the server back as it was."""
    installation = Installation(
        server_url, f"tm_test_{secrets.token_hex(4)}", secrets.token_hex(8), folder
    )
    async with installation.superuser() as superuser:
        logins = await superuser.fetch(
            "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = ANY ($1)", _SHARED_ROLES
        )
        had_base: bool = await superuser.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'freehold_base')"
        )
        bootstrap(installation.url("postgres"), installation.password, role=installation.role)
        for login in logins:
            # On Postgres 16 and later, CREATEROLE is a right to the roles that one has made.
            await superuser.execute(
                f"GRANT {login['rolname']} TO {installation.role} WITH ADMIN OPTION"
            )
    try:
        yield installation
    finally:
        async with installation.superuser() as superuser:
            for login in logins:
                password = "NULL" if login["rolpassword"] is None else f"'{login['rolpassword']}'"
                await superuser.execute(f"ALTER ROLE {login['rolname']} PASSWORD {password}")
        # Dropping takes long, and a server of the session's own forgets everything anyway.
        if POSTGRES_URL:
            roles = {*_SHARED_ROLES} - {login["rolname"] for login in logins}
            await _remove(installation, roles)
            if not had_base:
                await _remove_base(installation)


async def _remove(installation: Installation, shared_roles: set[str]) -> None:
    """Drop every database that our role has made, and the roles that came with them."""
    async with installation.superuser() as superuser:
        owned = await superuser.fetch(
            "SELECT datname FROM pg_database AS d INNER JOIN pg_roles AS r ON r.oid = d.datdba"
            " WHERE r.rolname = $1",
            installation.role,
        )
        for (name,) in owned:
            await superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            for tenant in await _tenant_databases(installation, name):
                await superuser.execute(f"DROP DATABASE IF EXISTS {tenant} WITH (FORCE)")
                for role in ("owner", *TENANT_SERVICES):
                    await superuser.execute(f"DROP ROLE IF EXISTS {tenant}_{role}")
            await superuser.execute(f"ALTER DATABASE {name} IS_TEMPLATE false")
            await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")
        # Its rights to settings and to this database.
        await superuser.execute(f"DROP OWNED BY {installation.role}")
        for role in (*sorted(shared_roles), installation.role):
            # Somebody else may use them by now.
            with suppress(asyncpg.DependentObjectsStillExistError):
                await superuser.execute(f"DROP ROLE IF EXISTS {role}")


async def _remove_base(installation: Installation) -> None:
    async with installation.superuser() as superuser:
        await superuser.execute("ALTER DATABASE freehold_base IS_TEMPLATE false")
        await superuser.execute("DROP DATABASE freehold_base WITH (FORCE)")
        with suppress(asyncpg.DependentObjectsStillExistError):
            await superuser.execute("DROP ROLE freehold_service")


async def _tenant_databases(installation: Installation, catalog: str) -> list[str]:
    async with installation.superuser(catalog) as connection:
        if not await connection.fetchval("SELECT to_regclass('catalog.tenants') IS NOT NULL"):
            return []
        rows = await connection.fetch(
            "SELECT database_name FROM catalog.tenants"
            " UNION ALL SELECT database_name FROM catalog.pool_databases"
        )
    return [row["database_name"] for row in rows]


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[FastAPI]:
    """Run tenant-manager in this process, and wait until it is ready."""
    app = build_application(settings)
    async with app.router.lifespan_context(app):
        # Tests ask for them too.
        components_of(app).add(settings)
        async with client_of(app) as client:
            await becomes_ready(client)
        yield app


async def becomes_ready(client: httpx.AsyncClient, *, status: int = 200) -> None:
    """Wait until /readyz answers with this status."""
    async with asyncio.timeout(PATIENCE_S):
        while (await client.get("/readyz")).status_code != status:  # noqa: ASYNC110 (as others do)
            await asyncio.sleep(0.02)


def components_of(app: FastAPI) -> Components:
    """Give what an application's routes work with."""
    components: Components = app.state.components
    return components


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    """Make a client who asks with the operator's token unless a request says otherwise."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://tenant-manager",
        headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"},
        timeout=30,
    )


def new_tenant_id() -> str:
    return f"t-{secrets.token_hex(6)}"


async def make_tenant(manager: httpx.AsyncClient) -> str:
    """Make a tenant; give their id."""
    wanted = new_tenant()
    answer = await manager.post("/v1/tenants", json=wanted)
    assert answer.status_code == 201, answer.text
    return str(wanted["tenant_id"])


async def database_of(manager: httpx.AsyncClient, tenant_id: str) -> str:
    """Give the name of a tenant's database."""
    return str((await manager.get(f"/v1/tenants/{tenant_id}")).json()["home"]["database"])


def new_tenant(**changes: Any) -> dict[str, Any]:
    """Make a request for a tenant nobody asked for before."""
    return {
        "tenant_id": new_tenant_id(),
        "name": "Acme Ltd",
        "region": "local",
        "isolation": "database",
    } | changes
