"""Tenants' credentials in the catalog: passwords of their roles, sealed, each bound to its role.

They are written before the roles exist, so that a repeated creation gives the same passwords again.
Replaced, they are so in one transaction with the roles' own: the roles of the whole server stand in
every database of it, and the catalog is one.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog

from freehold.contracts.credentials import Service
from freehold.ledger.client import Connection, Record
from freehold.security.sealing import KeyRing, Sealed, SealingError
from freehold.tenancy.homes import Home, home_of
from freehold_tenant_manager.provisioning.roles import role_verifier
from freehold_tenant_manager.statements import execute_formatted

_log = structlog.get_logger(__name__)

SERVICES = ("ingest", "projector", "query", "auditor", "backup")
_PASSWORD_BYTES = 24
_TIMEOUT_S = 5.0


class Credential(NamedTuple):
    """A role's password, sealed for that role."""

    service: str
    role_name: str
    sealing_key_id: str
    sealed_password: bytes


def new_passwords() -> dict[str, str]:
    """Make a random password for each of a tenant's login roles, by service."""
    return {service: _password() for service in SERVICES}


def seal_passwords(
    key_ring: KeyRing, role_prefix: str, passwords: Mapping[str, str]
) -> list[Credential]:
    """Seal the passwords of the roles whose names begin with this prefix."""
    return [
        Credential(service, role_name, *key_ring.seal(password, role_name))
        for service, password in passwords.items()
        for role_name in [f"{role_prefix}_{service}"]
    ]


async def add_credentials(
    connection: Connection, key_ring: KeyRing, tenant_id: str, role_prefix: str
) -> None:
    """Make and keep a random password for each of a tenant's login roles that has none yet."""
    await connection.executemany(
        "INSERT INTO tenant_credentials"
        " (tenant_id, service, role_name, sealing_key_id, sealed_password)"
        " VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT ON CONSTRAINT tenant_credentials_pkey DO NOTHING",
        [
            (tenant_id, *credential)
            for credential in seal_passwords(key_ring, role_prefix, new_passwords())
        ],
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
    return open_passwords(key_ring, rows)


def open_passwords(key_ring: KeyRing, rows: Sequence[Record]) -> dict[str, str]:
    """Open what seal_passwords sealed, by service.

    Raises:
        SealingError: One does not open.
    """
    return {
        row["service"]: key_ring.open(
            Sealed(row["sealing_key_id"], row["sealed_password"]), row["role_name"]
        )
        for row in rows
    }


async def find_home(
    connection: Connection, key_ring: KeyRing, tenant_id: str, service: str
) -> Home | None:
    """Say where a tenant's ledger is, for one of its roles; None where there is none.

    That of a suspended tenant can still be read, and of one who is being deleted.

    Raises:
        SealingError: The role's password does not open.
    """
    row = await connection.fetchrow(
        "SELECT t.tenant_id, t.epoch, c.host, c.port, t.database_name, t.schema_name,"
        " t.schema_version, t.services_version_min,"
        " r.role_name, r.sealing_key_id, r.sealed_password"
        " FROM tenants AS t"
        " INNER JOIN clusters AS c ON c.cluster = t.cluster"
        " INNER JOIN tenant_credentials AS r"
        " ON r.tenant_id = t.tenant_id AND r.service = $2"
        " WHERE t.tenant_id = $1 AND t.status IN ('active', 'suspended', 'deleting')",
        tenant_id,
        service,
    )
    return None if row is None else home_of(row, key_ring)


async def replace_passwords(
    connection: Connection, key_ring: KeyRing, tenant_id: str, service: Service | None
) -> list[Service]:
    """Give a tenant's roles new passwords, or one of them; say which. Asks for a transaction.

    Sessions go on. Whoever connects with the old password is refused, and finds the new one in the
    catalog at once.
    """
    rows = await connection.fetch(
        "SELECT tenant_id, service, role_name FROM tenant_credentials"
        " WHERE tenant_id = $1 AND ($2::text IS NULL OR service = $2) ORDER BY service FOR UPDATE",
        tenant_id,
        service,
    )
    for row in rows:
        password = _password()
        await execute_formatted(
            connection,
            "ALTER ROLE %I PASSWORD %L",
            row["role_name"],
            role_verifier(row["service"], password),
            timeout_s=_TIMEOUT_S,
        )
        await _keep(connection, key_ring, row, password)
    return [row["service"] for row in rows]


async def reseal_passwords(
    connection: Connection, key_ring: KeyRing, after: tuple[str, str], rows_max: int
) -> tuple[int, tuple[str, str] | None]:
    """Seal passwords with the key that seals now, where another one did.

    Args:
        connection: To the catalog.
        key_ring: Opens and seals them.
        after: The tenant and service after whom to begin.
        rows_max: How many to look at.

    Returns:
        How many were sealed again, and after whom to go on; None where these were the last.
    """
    resealed = 0
    async with connection.transaction():
        rows = await connection.fetch(
            "SELECT tenant_id, service, role_name, sealing_key_id, sealed_password"
            " FROM tenant_credentials"
            " WHERE sealing_key_id <> $1 AND (tenant_id, service) > ($2, $3)"
            " ORDER BY tenant_id, service LIMIT $4 FOR UPDATE",
            key_ring.sealing_key_id,
            *after,
            rows_max,
        )
        for row in rows:
            sealed = Sealed(row["sealing_key_id"], row["sealed_password"])
            try:
                password = key_ring.open(sealed, row["role_name"])
            except SealingError as error:
                _log.warning(
                    "credential does not open", tenant_id=row["tenant_id"], fault=str(error)
                )
                continue
            await _keep(connection, key_ring, row, password)
            resealed += 1
    last = (rows[-1]["tenant_id"], rows[-1]["service"]) if len(rows) == rows_max else None
    return resealed, last


async def _keep(connection: Connection, key_ring: KeyRing, row: Record, password: str) -> None:
    sealed = key_ring.seal(password, row["role_name"])
    await connection.execute(
        "UPDATE tenant_credentials SET sealing_key_id = $3, sealed_password = $4"
        " WHERE tenant_id = $1 AND service = $2",
        row["tenant_id"],
        row["service"],
        sealed.key_id,
        sealed.box,
    )


def _password() -> str:
    return secrets.token_urlsafe(_PASSWORD_BYTES)
