"""Tenants' credentials in the catalog: passwords of their roles, sealed, each bound to its role.

They are written before the roles exist, so that a repeated creation gives the same passwords again.
"""

import secrets

from freehold.ledger.client import Connection
from freehold.security.sealing import KeyRing, Sealed
from freehold.tenancy.homes import Home, home_of

SERVICES = ("ingest", "projector", "query", "auditor", "backup")
_PASSWORD_BYTES = 24


async def add_credentials(
    connection: Connection, key_ring: KeyRing, tenant_id: str, role_prefix: str
) -> None:
    """Make and keep a random password for each of a new tenant's login roles."""
    rows = []
    for service in SERVICES:
        role_name = f"{role_prefix}_{service}"
        sealed = key_ring.seal(secrets.token_urlsafe(_PASSWORD_BYTES), role_name)
        rows.append((tenant_id, service, role_name, sealed.key_id, sealed.box))
    await connection.executemany(
        "INSERT INTO tenant_credentials"
        " (tenant_id, service, role_name, sealing_key_id, sealed_password)"
        " VALUES ($1, $2, $3, $4, $5)",
        rows,
    )


async def find_passwords(
    connection: Connection, key_ring: KeyRing, tenant_id: str
) -> dict[str, str]:
    """Give the passwords of a tenant's roles, by service.

    Raises:
        SealingError: One does not open.
    """
    rows = await connection.fetch(
        "SELECT service, role_name, sealing_key_id, sealed_password"
        " FROM tenant_credentials WHERE tenant_id = $1",
        tenant_id,
    )
    return {
        row["service"]: key_ring.open(
            Sealed(row["sealing_key_id"], row["sealed_password"]), row["role_name"]
        )
        for row in rows
    }


async def find_home(
    connection: Connection, key_ring: KeyRing, tenant_id: str, service: str
) -> Home | None:
    """Say where an active tenant's ledger is, for one of its roles; None where there is none.

    Raises:
        SealingError: The role's password does not open.
    """
    row = await connection.fetchrow(
        "SELECT t.tenant_id, t.epoch, c.host, c.port, t.database_name, t.schema_name,"
        " t.schema_version,"
        " r.role_name, r.sealing_key_id, r.sealed_password"
        " FROM tenants AS t"
        " INNER JOIN clusters AS c ON c.cluster = t.cluster"
        " INNER JOIN tenant_credentials AS r"
        " ON r.tenant_id = t.tenant_id AND r.service = $2"
        " WHERE t.tenant_id = $1 AND t.status = 'active'",
        tenant_id,
        service,
    )
    return None if row is None else home_of(row, key_ring)
