"""Credentials in the catalog: passwords of databases' roles, sealed, each bound to its role's name.

They are written before the roles exist, so that a repeated creation gives the same passwords again.
A password is replaced in the catalog and in the role in one transaction: roles belong to the whole
server, so a transaction in the catalog's database can change them.
"""

import secrets
from collections.abc import Mapping

import structlog

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection, Record
from freehold.security.key_ring import KeyRing, Sealed, SealingError
from freehold.tenants.homes import Home, home_of
from freehold_tenant_manager.contracts.credentials import Service
from freehold_tenant_manager.server.roles import CUSTOMER, SERVICES, role_verifier
from freehold_tenant_manager.server.sessions import end_sessions, entitled_to_end
from freehold_tenant_manager.server.statements import execute_formatted

_QUERIES = load_queries("freehold_tenant_manager.credentials", "queries.sql")

_log = structlog.get_logger(__name__)

_PASSWORD_BYTES = 24
_TIMEOUT_S = 5.0
_END_SESSION_S = 2.0


def new_passwords() -> dict[str, str]:
    """Make a random password for each of a database's login roles, by service."""
    return {service: _password() for service in SERVICES}


async def add_credentials(connection: Connection, key_ring: KeyRing, database_name: str) -> None:
    """Save a random password for each of a database's login roles that has none yet."""
    await connection.executemany(
        _QUERIES["add"],
        [
            (database_name, service, *key_ring.seal(password, f"{database_name}_{service}"))
            for service, password in new_passwords().items()
        ],
    )


async def find_passwords(
    connection: Connection, key_ring: KeyRing, database_name: str
) -> dict[str, str]:
    """Give the passwords of a database's roles, by service.

    Raises:
        SealingError: One does not open.
    """
    rows = await connection.fetch(_QUERIES["list"], database_name)
    return {row["service"]: _open(key_ring, row) for row in rows}


async def find_home(
    connection: Connection, key_ring: KeyRing, tenant_id: str, service: str
) -> Home | None:
    """Give a tenant's home for one of its roles; None if it has no ledger.

    Suspended tenants and those being deleted still have one.

    Raises:
        SealingError: The role's password does not open.
    """
    row = await connection.fetchrow(_QUERIES["find_home"], tenant_id, service)
    return None if row is None else home_of(row, key_ring)


async def find_own_home(connection: Connection, key_ring: KeyRing, tenant_id: str) -> Home | None:
    """Give a tenant's home for the control plane's own role.

    A tenant of an earlier release gets that role with its next migration. Until then, this is the
    home of the customer's role, although the customer can make that role unusable.

    Raises:
        SealingError: The role's password does not open.
    """
    own = await find_home(connection, key_ring, tenant_id, "manager")
    return own or await find_home(connection, key_ring, tenant_id, CUSTOMER)


async def replace_passwords(
    connection: Connection, key_ring: KeyRing, database_name: str, service: Service | None
) -> list[Service]:
    """Replace the passwords of a database's roles, or of one; return which. Needs a transaction.

    Sessions continue. A service whose old password is refused finds the new one in the catalog.
    """
    rows = await connection.fetch(_QUERIES["lock"], database_name, service)
    for row in rows:
        password = _password()
        role = _role(row)
        if row["service"] == CUSTOMER:
            # It can change itself only. Until such a session ends, others cannot change it.
            async with entitled_to_end(connection, [role]):
                await end_sessions(connection, [role], only_changing=True, wait_s=_END_SESSION_S)
        await _set_password(connection, role, row["service"], password)
        await _save(connection, key_ring, row, password)
    return [row["service"] for row in rows]


async def mend_passwords(
    connection: Connection, key_ring: KeyRing, database_name: str
) -> list[str]:
    """Replace saved passwords that no key opens any more; return their services.

    Roles that have no password get one as well.
    """
    await add_credentials(connection, key_ring, database_name)
    mended = []
    for row in await connection.fetch(_QUERIES["list"], database_name):
        try:
            _open(key_ring, row)
        except SealingError:
            await _save(connection, key_ring, row, _password())
            mended.append(row["service"])
    return mended


async def set_passwords(
    connection: Connection, database_name: str, passwords: Mapping[str, str]
) -> None:
    """Set the passwords, by service, of a database's roles."""
    for service, password in passwords.items():
        await _set_password(connection, f"{database_name}_{service}", service, password)


async def reseal_passwords(
    connection: Connection, key_ring: KeyRing, after: tuple[str, str], rows_max: int
) -> tuple[int, tuple[str, str] | None]:
    """Seal passwords with the current key that an older key sealed.

    Args:
        connection: To the catalog.
        key_ring: Opens and seals them.
        after: The database and service to begin after.
        rows_max: Passwords to look at.

    Returns:
        The number that was sealed again, and the database and service to continue after; None at
        the end.
    """
    resealed = 0
    async with connection.transaction():
        rows = await connection.fetch(
            _QUERIES["lock_sealed_otherwise"], key_ring.sealing_key_id, *after, rows_max
        )
        for row in rows:
            try:
                password = _open(key_ring, row)
            except SealingError as error:
                _log.warning("credential does not open", role=_role(row), fault=str(error))
                continue
            await _save(connection, key_ring, row, password)
            resealed += 1
    last = (rows[-1]["database_name"], rows[-1]["service"]) if len(rows) == rows_max else None
    return resealed, last


async def _set_password(connection: Connection, role: str, service: str, password: str) -> None:
    await execute_formatted(
        connection,
        "ALTER ROLE %I PASSWORD %L",
        role,
        role_verifier(service, password),
        timeout_s=_TIMEOUT_S,
    )


async def _save(connection: Connection, key_ring: KeyRing, row: Record, password: str) -> None:
    sealed = key_ring.seal(password, _role(row))
    await connection.execute(_QUERIES["replace"], row["database_name"], row["service"], *sealed)


def _open(key_ring: KeyRing, row: Record) -> str:
    return key_ring.open(Sealed(row["sealing_key_id"], row["sealed_password"]), _role(row))


def _role(row: Record) -> str:
    return f"{row['database_name']}_{row['service']}"


def _password() -> str:
    return secrets.token_urlsafe(_PASSWORD_BYTES)
